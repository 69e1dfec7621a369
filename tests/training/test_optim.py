import pytest
import torch
from torch import nn

from llmkit.recipe.schema import TrainSettings
from llmkit.training import optim
from llmkit.training.learner import Learner
from llmkit.training.muon import Muon, hidden_matrices, orthogonalise
from llmkit.training.objectives.objective import Plain


def learner(model):
    return Learner(model, Plain())


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def train(model, step, n=5):
    x = torch.linspace(-1, 1, 20).reshape(4, 5)
    for i in range(n):
        for p in model.parameters():
            p.grad = None
        (model(x) ** 2).sum().backward()
        step(0.01 * (i + 1))


def reference(model):
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-6)

    def step(lr):
        for group in theirs.param_groups:
            group["lr"] = lr
        theirs.step()

    return step


@pytest.mark.parametrize("kernel", ["fused", "plain"])
def test_adamw_takes_the_steps_of_torch_optim(kernel, monkeypatch):
    if kernel == "plain":
        monkeypatch.setattr(optim, "fused_works", lambda device: False)
    ours, theirs = small(), small()
    adamw = optim.AdamW(dict(ours.named_parameters()), beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1)
    train(ours, adamw.step)
    train(theirs, reference(theirs))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_the_fused_kernel_is_used_here():
    assert optim.fused_works(torch.device("cpu"))


def test_a_fused_kernel_with_other_arguments_is_not_trusted(monkeypatch):
    def changed(*args, **kwargs):
        raise TypeError("unexpected argument")

    monkeypatch.setattr(torch, "_fused_adamw_", changed)
    assert not optim.fused_works(torch.device("cpu"))


def test_biases_and_norms_do_not_decay():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    before = [p.clone() for p in model.parameters()]
    optim.AdamW(dict(model.named_parameters()), beta1=0.9, beta2=0.9, eps=1e-8, weight_decay=0.5).step(0.1)
    changed = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert changed == [True, False, False, False]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_copying_the_state_into_a_fresh_optimizer_continues_exactly(name):
    settings = TrainSettings(optimizer=name, weight_decay=0.1)
    whole, first = small(), small()
    train(whole, optim.make_optimizer(learner(whole), settings).step, n=5)

    half = optim.make_optimizer(learner(first), settings)
    train(first, half.step, n=5)  # five steps, so that the state below is not the beginning
    ours = small()
    ours.load_state_dict(first.state_dict())
    again = optim.make_optimizer(learner(ours), settings)
    for key, tensor in again.state().items():
        tensor.copy_(half.state()[key])
    train(first, half.step, n=3)
    train(ours, again.step, n=3)
    for a, b in zip(first.parameters(), ours.parameters(), strict=True):
        assert torch.equal(a, b)


def test_clipping_scales_the_common_norm_and_reports_the_one_before():
    model = small()
    for p in model.parameters():
        p.grad = torch.full_like(p, 2.0)
    n = sum(p.numel() for p in model.parameters())
    assert optim.clip_gradients(list(model.parameters()), 1.0) == pytest.approx(2 * n**0.5)
    assert optim.clip_gradients(list(model.parameters()), 0) == pytest.approx(1.0, rel=1e-5)


def test_clipping_leaves_gradients_alone_that_are_not_finite():
    model = small()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model[0].weight.grad[0, 0] = float("inf")
    assert optim.clip_gradients(list(model.parameters()), 1.0) == float("inf")
    assert model[2].weight.grad[0, 0] == 1.0


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 12), (2, 12, 4)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.3
    assert values.max() < 1.4


def test_muon_treats_stacked_matrices_as_separate_ones():
    torch.manual_seed(0)
    fused = nn.Parameter(torch.zeros(6, 4))
    parts = [nn.Parameter(torch.zeros(4, 4)), nn.Parameter(torch.zeros(2, 4))]
    gradient = torch.randn(6, 4)
    fused.grad, parts[0].grad, parts[1].grad = gradient, gradient[:4].clone(), gradient[4:].clone()
    Muon({"qkv": fused}, {"qkv": (4, 2)}, weight_decay=0.0).step(0.1)
    Muon({"q": parts[0], "k": parts[1]}, {}, weight_decay=0.0).step(0.1)
    torch.testing.assert_close(fused, torch.cat(parts))


def test_muon_leaves_embeddings_vectors_and_the_output_layer_to_adamw(tiny_model):
    assert set(hidden_matrices(tiny_model())) >= {"qkv.weight", "up.weight", "down.weight"}
    assert "embedding.weight" not in hidden_matrices(tiny_model())
    assert not any("bias" in n for n in hidden_matrices(tiny_model()))


def test_muon_updates_a_large_model_in_groups_that_need_little_memory_and_change_nothing(monkeypatch):
    from llmkit.training import muon as module

    def stepped(at_once):
        monkeypatch.setattr(module, "AT_ONCE", at_once)
        torch.manual_seed(0)
        matrices = {f"m{i}": nn.Parameter(torch.randn(8, 8 + 8 * (i % 2))) for i in range(5)}
        for matrix in matrices.values():
            matrix.grad = torch.randn_like(matrix)
        matrices["m3"].grad = None
        muon = Muon(matrices, {}, weight_decay=0.1)
        muon.step(0.1)
        return muon, torch.cat([m.detach().flatten() for m in matrices.values()])

    whole, expected = stepped(10**6)
    parted, found = stepped(130)
    assert [len(g) for g in whole._groups] == [5]
    assert parted._groups == [["m0"], ["m1"], ["m2"], ["m3"], ["m4"]]
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)
    assert module.grouped({"a": 5, "b": 5, "c": 1, "d": 20, "e": 2}, 10) == [["a", "b"], ["c"], ["d"], ["e"]]
