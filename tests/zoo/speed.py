"""Forward and backward of every family beside the transformers model of the same config.json, in turn.

One thread, CPU time (so that other load does not count), float32, training mode with the config's own dropout. Each
pair runs ours and theirs once, in alternating order; the ratio is of the medians, above 1 where ours is faster.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

BATCH, SEQ, VOCAB = 8, 128, 8192

_BERT = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
_LLAMA = {**_BERT, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 512}
_BART = {"d_model": 256, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 4}
_BART |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024}
_BART |= {"max_position_embeddings": 512, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
_T5 = {"d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 3, "num_decoder_layers": 3, "num_heads": 4}
_GPT = {"n_embd": 256, "n_layer": 4, "n_head": 4}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "albert": ("AlbertForMaskedLM", _BERT),
    "bart": ("BartForConditionalGeneration", _BART),
    "bert": ("BertForMaskedLM", _BERT),
    "bloom": ("BloomForCausalLM", {"hidden_size": 256, "n_layer": 4, "n_head": 4}),
    "convbert": ("ConvBertForMaskedLM", {**_BERT, "embedding_size": 128}),
    "ctrl": ("CTRLLMHeadModel", {**_GPT, "dff": 1024}),
    "distilbert": ("DistilBertForMaskedLM", {"dim": 256, "n_layers": 4, "n_heads": 4, "hidden_dim": 1024}),
    "electra": ("ElectraForPreTraining", {**_BERT, "embedding_size": 128}),
    "falcon": ("FalconForCausalLM", {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}),
    "funnel": ("FunnelForMaskedLM", {"block_sizes": [2, 1, 1], "d_model": 256, "n_head": 4, "d_inner": 1024}),
    "gemma": ("GemmaForCausalLM", {**_LLAMA, "num_key_value_heads": 1}),
    "gpt2": ("GPT2LMHeadModel", _GPT),
    "gpt_neox": ("GPTNeoXForCausalLM", _BERT),
    "llama": ("LlamaForCausalLM", _LLAMA),
    "longformer": ("LongformerForMaskedLM", {**_BERT, "attention_window": 32}),
    "marian": ("MarianMTModel", {**_BART, "forced_eos_token_id": 2}),
    "mistral": ("MistralForCausalLM", {**_LLAMA, "sliding_window": 64}),
    "mixtral": ("MixtralForCausalLM", {**_LLAMA, "intermediate_size": 512, "num_local_experts": 4}),
    "openai_gpt": ("OpenAIGPTLMHeadModel", _GPT),
    "opt": ("OPTForCausalLM", {**_BERT, "ffn_dim": 1024, "word_embed_proj_dim": 256}),
    "pegasus": ("PegasusForConditionalGeneration", _BART),
    "prophetnet": (
        "ProphetNetForConditionalGeneration",
        {"hidden_size": 256, "num_encoder_layers": 3, "num_decoder_layers": 3, "num_encoder_attention_heads": 4}
        | {"num_decoder_attention_heads": 4, "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024},
    ),
    "reformer": (
        "ReformerForMaskedLM",
        {"hidden_size": 256, "num_attention_heads": 4, "attention_head_size": 64, "feed_forward_size": 1024}
        | {"axial_pos_embds_dim": [64, 192], "axial_pos_shape": [8, 16], "is_decoder": False, "num_buckets": 4}
        | {"attn_layers": ["local", "lsh"] * 2, "local_attn_chunk_length": 32, "lsh_attn_chunk_length": 32},
    ),
    "roberta": ("RobertaForMaskedLM", _BERT),
    "switch_transformers": (
        "SwitchTransformersForConditionalGeneration",
        {**_T5, "num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
    ),
    "t5": ("T5ForConditionalGeneration", _T5),
    "xlm": ("XLMWithLMHeadModel", {"emb_dim": 256, "n_layers": 4, "n_heads": 4}),
    "xlm_roberta": ("XLMRobertaForMaskedLM", _BERT),
    "xlnet": ("XLNetLMHeadModel", {"d_model": 256, "n_layer": 4, "n_head": 4, "d_inner": 1024}),
}  # transformer_xl is not here: transformers has none any more


def report(names: Sequence[str], pairs: int) -> None:
    """Print one line per family as it is measured, then the median of all ratios."""
    ratios = {}
    print("family\tours, s\ttransformers, s\tratio")
    for name in names or SETTINGS:
        ours, theirs = measure(name, pairs)
        ratios[name] = theirs / ours
        print(f"{name}\t{ours:.3f}\t{theirs:.3f}\t{ratios[name]:.2f}", flush=True)
    print(f"median of {len(ratios)}\t\t\t{statistics.median(ratios.values()):.2f}")


def measure(name: str, pairs: int) -> tuple[float, float]:
    """Median CPU seconds of ours and of theirs."""
    import torch
    import transformers

    from llmkit.models.registry import load_family

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    class_name, settings = SETTINGS[name]
    theirs_class = getattr(transformers, class_name)
    torch.manual_seed(0)
    config = theirs_class.config_class(vocab_size=VOCAB, **settings)
    theirs = theirs_class(config).train()
    ours = load_family(name).build(
        load_family(name).config_from_hf({**config.to_dict(), "architectures": [class_name]})
    )
    n = sum(p.numel() for p in ours.parameters())
    assert abs(n / sum(p.numel() for p in theirs.parameters() if p.requires_grad) - 1) < 0.02, "not the same model"
    ids = torch.randint(10, VOCAB, (BATCH, SEQ))
    written = {"decoder_input_ids": ids} if hasattr(ours, "decoder") and hasattr(ours, "encoder") else {}
    steps = [_step(ours.train(), ids, written), _step(theirs, ids, written)]
    times: list[list[float]] = [[], []]
    for step in steps:
        step()
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 else (1, 0):
            began = time.process_time()
            steps[which]()
            times[which].append(time.process_time() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def _step(model: Any, ids: Any, more: dict[str, Any]) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(ids, **more).logits.square().mean().backward()

    return step
