"""The chunked loss is cross_entropy, whatever the head, the dtype and the targets."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.nn.heads import LMHead, Transform
from llmkit.training.objectives import token_loss
from llmkit.training.objectives.token_loss import token_nats

ROWS, WIDTH, VOCAB = 200, 32, 611  # several chunks, the last one shorter


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 64 rows, and nothing too small for them."""
    monkeypatch.setattr(token_loss, "LEAST_SCORES", 1)
    monkeypatch.setattr(token_loss, "CHUNK_SCORES", {"cpu": 64 * VOCAB, "cuda": 64 * VOCAB})


@pytest.fixture
def hidden():
    torch.manual_seed(0)
    return torch.randn(ROWS, WIDTH, requires_grad=True)


@pytest.fixture
def targets():
    torch.manual_seed(1)
    targets = torch.randint(VOCAB, (ROWS,))
    targets[torch.rand(ROWS) < 0.2] = -100
    return targets


def make_head(kind: str) -> tuple[LMHead, nn.Embedding]:
    torch.manual_seed(2)
    table = nn.Embedding(VOCAB, WIDTH)
    transform = Transform(WIDTH, F.gelu, nn.LayerNorm(WIDTH)) if kind == "transform" else None
    head = LMHead(
        WIDTH,
        VOCAB,
        tied=table.weight if kind in ("tied", "transform") else None,
        bias=kind in ("bias", "transform"),
        transform=transform,
    )
    for parameter in head.parameters():
        if parameter is not table.weight:
            nn.init.normal_(parameter, std=0.3)
    return head, table


def gradients(head: nn.Module, table: nn.Embedding, hidden: Tensor, nats: Tensor) -> dict[str, Tensor]:
    """Of a loss that uses the embedding beside the head, and does not have a scale of 1."""
    total = nats * 0.37 + table(torch.arange(5)).square().sum()
    tensors = {**dict(head.named_parameters()), "table": table.weight, "hidden": hidden}
    found = torch.autograd.grad(total, list(tensors.values()), allow_unused=True)
    return {name: g for name, g in zip(tensors, found, strict=True) if g is not None}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["plain", "bias", "tied", "transform"])
def test_loss_and_gradients_are_those_of_cross_entropy(kind, smoothing, hidden, targets):
    head, table = make_head(kind)
    ours = token_nats(head, hidden, targets, label_smoothing=smoothing)
    theirs = F.cross_entropy(head(hidden), targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs)
    ours_by_name, theirs_by_name = (gradients(head, table, hidden, nats) for nats in (ours, theirs))
    assert ours_by_name.keys() == theirs_by_name.keys()
    for name, gradient in theirs_by_name.items():
        torch.testing.assert_close(
            ours_by_name[name], gradient, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("kind", ["bias", "transform"])
def test_under_autocast_it_errs_no_more_than_cross_entropy_does(kind, hidden, targets):
    head, table = make_head(kind)
    exact_nats = F.cross_entropy(head(hidden), targets, reduction="sum")
    exact = gradients(head, table, hidden, exact_nats)
    with torch.autocast("cpu", torch.bfloat16):
        ours_nats = token_nats(head, hidden, targets)
        plain_nats = F.cross_entropy(head(hidden).float(), targets, reduction="sum")
    assert ours_nats.dtype is torch.float32
    assert abs(ours_nats - exact_nats) < 2 * abs(plain_nats - exact_nats) + 0.01 * exact_nats
    ours, plain = (gradients(head, table, hidden, nats) for nats in (ours_nats, plain_nats))
    assert {gradient.dtype for gradient in ours.values()} == {torch.float32}

    def error(found: dict[str, Tensor]) -> float:
        return sum(float((found[name] - gradient).norm() / gradient.norm()) for name, gradient in exact.items())

    assert error(ours) < 1.5 * error(plain)  # which values are rounded how differs


def test_rows_without_a_target_get_no_gradient_even_where_scores_overflow(hidden, targets):
    head, _ = make_head("plain")
    with torch.no_grad():
        hidden[targets == -100] = float("inf")
    nats = token_nats(head, hidden, targets)
    (gradient,) = torch.autograd.grad(nats, hidden)
    assert torch.isfinite(nats)
    assert gradient[targets == -100].abs().max() == 0


def test_without_any_target_the_loss_is_zero(hidden):
    head, _ = make_head("plain")
    nats = token_nats(head, hidden, torch.full((ROWS,), -100))
    (gradient,) = torch.autograd.grad(nats, hidden)
    assert nats == 0
    assert gradient.abs().max() == 0


def test_a_target_of_no_likelihood_has_its_true_loss(hidden, targets):
    head, _ = make_head("plain")
    with torch.no_grad():
        hidden *= 300  # probabilities far below the smallest float32
    ours, theirs = token_nats(head, hidden, targets), F.cross_entropy(head(hidden), targets, reduction="sum")
    assert theirs > 104 * (targets != -100).sum()
    torch.testing.assert_close(ours, theirs)


def test_a_frozen_head_gets_no_gradient_and_hands_one_on(hidden, targets):
    head, _ = make_head("bias")
    head.requires_grad_(False)
    token_nats(head, hidden, targets).backward()
    assert hidden.grad is not None
    assert all(p.grad is None for p in head.parameters())


def test_without_gradients_the_loss_is_the_same(hidden, targets):
    head, _ = make_head("transform")
    with torch.no_grad():
        assert token_nats(head, hidden, targets) == token_nats(head, hidden, targets).detach()


def test_a_second_backward_pass_is_refused_and_not_wrong(hidden, targets):
    head, _ = make_head("plain")
    nats = token_nats(head, hidden, targets)
    nats.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        nats.backward()


def test_never_are_there_more_scores_than_a_chunk_has(hidden, targets, monkeypatch):
    head, _ = make_head("bias")
    sizes = []
    inner = token_loss._scores_to_gradient
    monkeypatch.setattr(
        token_loss,
        "_scores_to_gradient",
        lambda scores, *more: (sizes.append(scores.shape[0]), inner(scores, *more))[1],
    )
    token_nats(head, hidden, targets).backward()
    assert sizes == [64, 64, 64, 8]
