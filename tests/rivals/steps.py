"""One training step of the same model by us and by others: forward, backward, gradients cut to a norm of 1, AdamW.

Each side is as fast as its own code makes it without a compiler: transformers with the framework's fused AdamW, nanoGPT
with the optimizer it configures, ours with what `llmkit pretrain` runs. Whoever can do with less work by its own design
does: our output layer sees the masked positions only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LR, WEIGHT_DECAY, BETAS = 3e-4, 0.1, (0.9, 0.95)
MASKED = 0.15


@dataclass(frozen=True)
class Case:
    """Sizes of a model and its batch."""

    name: str
    layers: int
    heads: int
    width: int
    seq: int
    batch: int
    vocab: int


GPT = Case("gpt", layers=6, heads=6, width=384, seq=256, batch=8, vocab=8192)
BERT = Case("bert", layers=4, heads=4, width=256, seq=128, batch=8, vocab=30522)


def batch_of(case: Case) -> tuple[Any, Any]:
    """Random ids (batch, seq) and their targets: for GPT the ids one later, for BERT the ids at 15 %, else -100."""
    import torch

    torch.manual_seed(1)
    ids = torch.randint(0, case.vocab, (case.batch, case.seq))
    if case.name == "gpt":
        return ids, torch.roll(ids, -1, 1)
    chosen = torch.zeros(ids.numel(), dtype=torch.bool)
    chosen[torch.randperm(ids.numel())[: int(ids.numel() * MASKED)]] = True
    return ids, torch.where(chosen.view_as(ids), ids, -100)


def transformers_model(case: Case) -> Any:
    """GPT-2 or BERT without dropout, its norms and GELU as nanoGPT has them."""
    import transformers

    transformers.logging.set_verbosity_error()
    if case.name == "gpt":
        config = transformers.GPT2Config(
            vocab_size=case.vocab, n_positions=case.seq, n_embd=case.width, n_layer=case.layers, n_head=case.heads,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, activation_function="gelu", use_cache=False,
        )  # fmt: skip
        return transformers.GPT2LMHeadModel(config).train()
    config = transformers.BertConfig(
        vocab_size=case.vocab, hidden_size=case.width, num_hidden_layers=case.layers, num_attention_heads=case.heads,
        intermediate_size=4 * case.width, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return transformers.BertForMaskedLM(config).train()


def transformers_step(case: Case, dtype: str) -> Callable[[], float]:
    """A step as its Trainer takes it, without what the Trainer adds between steps."""
    import torch

    model = transformers_model(case)
    ids, targets = batch_of(case)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True)

    def loss() -> Any:
        # The causal model moves its labels on by itself.
        return model(input_ids=ids, labels=ids if case.name == "gpt" else targets).loss

    return _torch_step(model, optimizer, loss, dtype)


def nanogpt_step(case: Case, dtype: str, directory: str) -> Callable[[], float]:
    """A step of nanoGPT's own model and optimizer, from the checkout in `directory`."""
    import contextlib
    import io

    sys.path.insert(0, directory)
    from model import GPT as Model  # type: ignore[import-not-found]
    from model import GPTConfig

    ids, targets = batch_of(case)
    with contextlib.redirect_stdout(io.StringIO()):
        model = Model(
            GPTConfig(
                block_size=case.seq, vocab_size=case.vocab, n_layer=case.layers, n_head=case.heads, n_embd=case.width,
                dropout=0.0, bias=True,
            )
        )  # fmt: skip
        optimizer = model.configure_optimizers(WEIGHT_DECAY, LR, BETAS, "cpu")
    return _torch_step(model, optimizer, lambda: model(ids, targets)[1], dtype)


def _torch_step(model: Any, optimizer: Any, loss: Callable[[], Any], dtype: str) -> Callable[[], float]:
    import torch

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            nats = loss()
        nats.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(nats.detach())

    return step


def our_model(case: Case) -> Any:
    """The same architecture from the zoo."""
    from llmkit.models.registry import load_family

    family = load_family("gpt2" if case.name == "gpt" else "bert")
    config = family.config_class(
        vocab_size=case.vocab, d_model=case.width, n_layers=case.layers, n_heads=case.heads, d_ff=4 * case.width,
        max_seq_len=case.seq if case.name == "gpt" else 512, activation="gelu", dropout=0.0, attention_dropout=0.0,
        head="causal_lm" if case.name == "gpt" else "masked_lm",
    )  # fmt: skip
    return family.build(config).train()


def our_step(case: Case, dtype: str, model: Any = None) -> Callable[[], float]:
    """What the training loop does with a batch that is ready."""
    import torch

    from llmkit.training.heap import keep_freed_memory
    from llmkit.training.objectives.token_loss import token_nats
    from llmkit.training.optim import AdamW, clip_gradients
    from llmkit.training.precision import mixed_precision

    keep_freed_memory()
    model = model or our_model(case)
    ids, targets = batch_of(case)
    flat = targets.flatten()
    places = (flat != -100).nonzero()[:, 0]
    due = flat[places]
    parameters = dict(model.named_parameters())
    optimizer = AdamW(parameters, beta1=BETAS[0], beta2=BETAS[1], eps=1e-8, weight_decay=WEIGHT_DECAY)

    def step() -> float:
        for parameter in parameters.values():
            parameter.grad = None
        with mixed_precision(model, torch.device("cpu"), getattr(torch, dtype)):
            hidden = model.encode(ids).flatten(0, 1)
            nats = token_nats(model.head, hidden if case.name == "gpt" else hidden[places], due) / len(due)
        nats.backward()
        clip_gradients(parameters.values(), 1.0)
        optimizer.step(LR)
        return float(nats.detach())

    return step
