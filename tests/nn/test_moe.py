"""Mixtures of experts: sorted and grouped, they equal one expert after the other; routers keep their promises."""

import copy

import pytest
import torch
import torch.nn.functional as F

from llmkit.models.config import ModelConfig
from llmkit.models.registry import load_family
from llmkit.nn.balance import balance_loss, watch_routers, z_loss
from llmkit.nn.cache import KVCache
from llmkit.nn.context import Context
from llmkit.nn.init import init_normal
from llmkit.nn.moe import CapacityRouter, Experts, GatedExperts, MixtureOfExperts, TopRouter
from llmkit.nn.segments import segment_linear

SIZES = {"vocab_size": 31, "d_model": 16, "n_layers": 4, "n_heads": 2}


def drawn(part):
    torch.manual_seed(0)
    init_normal(part, 0.5)
    return part


def one_by_one(experts, x, chosen, weights):
    """The definition: every token through each of its experts, those of number n_experts through none."""
    rows = []
    for token, numbers, shares in zip(x, chosen, weights, strict=True):
        total = torch.zeros_like(token)
        for e, share in zip(numbers.tolist(), shares, strict=True):
            if e == experts.n_experts:
                continue
            if isinstance(experts, GatedExperts):
                gate, up = (experts.gate_up[e] @ token).chunk(2)
                hidden = experts.act(gate) * up
            else:
                hidden = experts.act(experts.up[e] @ token)
            total = total + share * (experts.down[e] @ hidden)
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.parametrize("kind", [Experts, GatedExperts])
@pytest.mark.parametrize("k", [1, 3])
def test_experts_equal_their_definition_with_gradients(kind, k):
    experts = drawn(kind(6, 5, F.silu, n_experts=4)).double()
    x = torch.randn(11, 6, dtype=torch.double, requires_grad=True)
    chosen = torch.randint(0, 5, (11, k)).where(torch.randn(11, k) > -1, 2)
    chosen[chosen == 1] = 3  # an expert without tokens
    weights = torch.rand(11, k, dtype=torch.double, requires_grad=True)
    inputs = (x, weights, *experts.parameters())
    noise = torch.randn(11, 6, dtype=torch.double)
    results = []
    for y in (experts(x, chosen, weights), one_by_one(experts, x, chosen, weights)):
        results.append([y, *torch.autograd.grad((y * noise).sum(), inputs, materialize_grads=True)])
    for ours, right in zip(*results, strict=True):
        assert torch.allclose(ours, right, atol=1e-12)


def test_segments_may_be_empty_and_rows_left_over():
    x, weight = torch.randn(7, 3), torch.randn(4, 2, 3)
    y = segment_linear(x, weight, torch.tensor([2, 2, 5, 6]))
    right = torch.cat([x[:2] @ weight[0].t(), x[2:5] @ weight[2].t(), x[5:6] @ weight[3].t(), torch.zeros(1, 2)])
    assert torch.allclose(y, right, atol=1e-6)
    assert segment_linear(x[:0], weight, torch.zeros(4, dtype=torch.long)).shape == (0, 2)


def test_under_autocast_experts_compute_as_linear_layers_do():
    experts = drawn(GatedExperts(16, 8, F.silu, n_experts=3))
    x, chosen, weights = torch.randn(9, 16, requires_grad=True), torch.randint(0, 3, (9, 2)), torch.rand(9, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = experts.hidden(x, torch.tensor([3, 6, 9]))
        y = experts(x, chosen, weights)
    assert hidden.dtype == torch.bfloat16
    y.float().sum().backward()
    assert experts.gate_up.grad.dtype == torch.float32
    assert torch.allclose(y.float(), experts(x, chosen, weights), atol=0.1)


def test_the_mixture_and_its_gradients_trace_as_one_graph():
    mixture = drawn(MixtureOfExperts(TopRouter(8, 4, 2), GatedExperts(8, 5, F.silu, n_experts=4)))
    traced = torch.compile(mixture, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 6, 8)
    y = traced(x, Context())
    assert torch.allclose(y, mixture(x, Context()), atol=1e-6)
    y.sum().backward()
    assert mixture.experts.gate_up.grad.isfinite().all()


def test_top_routers_choose_the_best_and_scale_to_one():
    router = drawn(TopRouter(8, 5, 3))
    routing = router(torch.randn(2, 7, 8), Context())
    assert torch.equal(routing.experts, routing.logits.topk(3).indices)
    assert torch.allclose(routing.weights, torch.softmax(routing.logits.topk(3).values, -1))


def test_switch_routers_turn_away_who_comes_late():
    router = drawn(CapacityRouter(8, 3, capacity=2))
    routing = router(torch.randn(4, 12, 8), Context())
    for text, logits in zip(routing.experts[..., 0].tolist(), routing.logits, strict=True):
        seen = [0, 0, 0]
        for taken, wanted in zip(text, logits.argmax(-1).tolist(), strict=True):
            seen[wanted] += 1
            assert taken == (wanted if seen[wanted] <= 2 else 3)
    assert torch.equal(routing.weights[..., 0], torch.softmax(routing.logits, -1).amax(-1))


def test_a_text_read_in_pieces_is_routed_like_the_whole():
    router = drawn(CapacityRouter(8, 3, capacity=2))
    x = torch.randn(2, 12, 8)
    whole = router(x, Context()).experts
    cache, pieces = KVCache(1, 2, 12), []
    for piece in x.split([3, 1, 4, 4], 1):
        cache.extend_positions(torch.zeros(2, piece.shape[1], dtype=torch.long))
        pieces.append(router(piece, Context(cache=cache)).experts)
        cache.advance(piece.shape[1])
    assert torch.equal(torch.cat(pieces, 1), whole)
    cache.truncate(8)
    cache.reorder(torch.tensor([1, 1]))
    cache.extend_positions(torch.zeros(2, 4, dtype=torch.long))
    assert torch.equal(router(x[[1, 1], 8:], Context(cache=cache)).experts, whole[[1, 1], 8:])


def test_routers_keep_their_precision_in_half_precision_models():
    router = drawn(CapacityRouter(64, 8, capacity=9)).bfloat16()
    x = torch.randn(1, 9, 64, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        routing = router(x, Context())
    assert routing.logits.dtype == torch.float32
    assert routing.weights.dtype == torch.bfloat16
    assert torch.allclose(routing.logits, x.float() @ router.linear.weight.float().t(), atol=1e-4)


def test_jitter_acts_in_training_only():
    mixture = drawn(MixtureOfExperts(CapacityRouter(8, 2, capacity=9, jitter=0.5), Experts(8, 5, F.relu, n_experts=2)))
    x = torch.randn(2, 6, 8)
    assert not torch.equal(mixture.router(x, Context()).logits, mixture.router(x, Context()).logits)
    mixture.eval()
    assert torch.equal(mixture(x, Context()), mixture(x, Context()))


def test_watching_routers_sees_each_layer_once_and_leaves_no_trace():
    model = load_family("mixtral").build(load_family("mixtral").config_class(**SIZES))
    ids = torch.randint(0, 31, (2, 9))
    with watch_routers(model) as seen:
        model(ids)
    assert [routing.logits.shape for routing in seen] == [(2, 9, 8)] * 4
    model(ids)
    assert len(seen) == 4
    (balance_loss(seen) + z_loss(seen)).backward()
    assert all(block["ffn"].body.router.linear.weight.grad.any() for block in model.stack.blocks)


def test_losses_equal_transformers():
    from transformers.models.mixtral import modeling_mixtral as mixtral
    from transformers.models.switch_transformers import modeling_switch_transformers as switch

    router = drawn(TopRouter(8, 5, 2))
    routings = [router(torch.randn(3, 7, 8), Context()) for _ in range(4)]
    flat = tuple(routing.logits.flatten(0, 1) for routing in routings)
    mask = (torch.rand(3, 7) > 0.3).long()
    assert torch.allclose(balance_loss(routings), mixtral.load_balancing_loss_func(flat, 5, 2))
    assert torch.allclose(balance_loss(routings, mask), mixtral.load_balancing_loss_func(flat, 5, 2, mask))
    router = drawn(CapacityRouter(8, 5, capacity=2))
    routings = [router(torch.randn(3, 7, 8), Context()) for _ in range(4)]
    logits = torch.cat([routing.logits for routing in routings], 1)
    right = switch.load_balancing_loss_func(torch.softmax(logits, -1), logits.argmax(-1))
    assert torch.allclose(balance_loss(routings, per_text=True), right)
    assert torch.allclose(z_loss(routings), switch.router_z_loss_func(logits))


def test_balanced_experts_cost_least():
    logits = torch.eye(4).repeat(1, 2, 1) * 20
    routing = drawn(TopRouter(8, 4, 1))(torch.randn(1, 8, 8), Context())
    assert balance_loss([routing._replace(logits=logits)]).item() == pytest.approx(1.0)
    assert balance_loss([routing._replace(logits=logits[:, :1].repeat(1, 8, 1))]).item() == pytest.approx(4.0)


@pytest.mark.parametrize("name", ["mixtral", "switch_transformers"])
def test_breaking_the_mixture_shows(name):
    """Parity has teeth here too: the wrong expert, half an answer, too much room."""
    config: ModelConfig = load_family(name).config_class(**SIZES, **({} if name == "mixtral" else {"capacity": 2}))
    torch.manual_seed(0)
    model = load_family(name).build(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3)
    ids = torch.randint(0, 31, (2, 9))
    more = {} if name == "mixtral" else {"decoder_input_ids": ids}

    def swap(part):
        part.experts.down.data = part.experts.down.data.roll(1, 0)

    def silence(part):
        part.experts.down.data[0] = 0

    def bend(part):
        part.experts.act = F.tanh

    def widen(part):
        part.router.capacity = 3

    def halve(part):
        part.router.forward = lambda x, ctx, old=part.router.forward: (r := old(x, ctx))._replace(weights=r.weights / 2)

    for change in (swap, silence, bend, halve, *([widen] if name != "mixtral" else [])):
        broken = copy.deepcopy(model)
        for part in broken.modules():
            if isinstance(part, MixtureOfExperts):
                change(part)
        with torch.no_grad():
            difference = (broken(ids, **more).logits - model(ids, **more).logits).abs().max()
        assert difference > 1e-3, change.__name__


def test_segments_of_any_length_are_multiplied_in_round_numbers_of_rows_in_bfloat16():
    from torch.utils._python_dispatch import TorchDispatchMode

    from llmkit.nn import segments

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.overloadpacket == torch.ops.aten.mm:
                rows.append(args[0].shape[0])
            return function(*args, **(kwargs or {}))

    rows: list[int] = []
    x, ends = torch.randn(100, 8), torch.tensor([3, 3, 67, 100])
    weight = torch.randn(4, 5, 8)
    want = torch.cat([x[a:b] @ weight[e].T for e, (a, b) in enumerate([(0, 3), (3, 3), (3, 67), (67, 100)])])
    with Watch():
        found = segments._linear(x.bfloat16(), weight.bfloat16(), ends)  # the operator hides what it calls
    assert rows == [64, 64, 64]
    torch.testing.assert_close(found.float(), want, rtol=0.05, atol=0.1)
