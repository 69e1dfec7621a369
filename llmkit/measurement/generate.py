"""Reading a prompt and drawing tokens, beside reading the weights from memory once per token."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from llmkit.errors import UsageError
from llmkit.measurement.limits import flops, gemm_case, read_case, recorded_products, sync
from llmkit.measurement.memory import peak_bytes
from llmkit.measurement.result import Plan, Result, rated
from llmkit.measurement.samples import describe, model_for
from llmkit.measurement.timing import interleaved

_PROMPT, _NEW = 128, 32


def measure(plan: Plan) -> Iterator[Result]:
    """Tokens per second of one sample, greedy, on the KV cache.

    decode: each token reads every weight once, so the limit is a matrix times a vector over as many bytes. prefill:
    the limit is the matrix products at the prompt's length.
    """
    from llmkit.generation.decode import Decoder
    from llmkit.generation.layout import lay_out_for_decoding
    from llmkit.generation.settings import Sampling
    from llmkit.models.shells import DecoderModel

    model = model_for(plan)
    if not isinstance(model, DecoderModel):
        raise UsageError(
            "bench generate times decoders, no encoders or encoder-decoders", "name a decoder, or leave --model out"
        )
    lay_out_for_decoding(model)  # as `llmkit generate` does
    room = model.config.max_seq_len
    prompt = [i % model.config.vocab_size for i in range(7, 7 + min(_PROMPT, max(1, room // 2)))]
    new = min(_NEW, room - len(prompt))
    settings = Sampling(max_tokens=new + 1, temperature=0.0, top_p=None)

    def prefill() -> float:
        start = time.perf_counter()
        Decoder(model, [prompt], settings).step()
        sync(plan.device)
        return time.perf_counter() - start

    def decode() -> float:
        decoder = Decoder(model, [prompt], settings)
        decoder.step()
        sync(plan.device)
        start = time.perf_counter()
        for _ in range(new):
            decoder.step()
        sync(plan.device)
        return time.perf_counter() - start

    with recorded_products(model) as found:
        prefill()
    dtype = model.embedding_weight.dtype
    weights = sum(out * into * n for (_, out, into), n in found.items()) * model.embedding_weight.element_size()
    # The output layer runs at the last position of a prompt only: that is reading, and no product worth counting.
    inner = {product: n for product, n in found.items() if product[0] > 1} or found
    cases = {
        "decode": decode,
        "prefill": prefill,
        "read": read_case(weights, plan.device),
        "products": gemm_case(inner, dtype if dtype.is_floating_point else torch.float32, plan.device),
    }
    plan.notice(f"generate: {describe(plan, model)}, prompt {len(prompt)}, then {new} tokens")
    times = interleaved(cases, trials=plan.trials, budget=plan.budget)
    speed = weights / times["read"].best / 1e9
    yield rated(
        "generate", "decode", "tok", new, times["decode"], limit=1 / times["read"].best,
        limit_name=f"reading weights, {speed:.1f} GB/s", peak_bytes=peak_bytes(decode, plan.device),
        detail={"weight_bytes": float(weights), "limit_gb_per_s": speed, "prompt": float(len(prompt))},
    )  # fmt: skip
    gemm = flops(inner) / times["products"].best / 1e9
    yield rated(
        "generate", "prefill", "tok", len(prompt), times["prefill"], limit=len(prompt) / times["products"].best,
        limit_name=f"products, {gemm:.0f} GFLOP/s", peak_bytes=peak_bytes(prefill, plan.device),
        detail={"limit_gflop_per_s": gemm},
    )  # fmt: skip
