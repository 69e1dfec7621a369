import pytest
import torch

from llmkit.errors import UsageError
from llmkit.models.registry import load_family
from llmkit.nn.masks import FREE
from llmkit.training.device import choose_device, fast_dtype, training_dtype
from llmkit.training.parallel.place import Place
from llmkit.training.precision import mixed_precision

CPU = torch.device("cpu")


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = load_family("llama").config_class(vocab_size=64, d_model=32, n_layers=2, n_heads=2, max_seq_len=16)
    return load_family("llama").build(config)


def gradients(model, dtype):
    ids = torch.arange(32).reshape(2, 16)
    model.zero_grad()
    with mixed_precision(model, CPU, dtype):
        loss = torch.nn.functional.cross_entropy(model(ids).logits.float().flatten(0, 1), ids.flatten())
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])


def test_bfloat16_products_stay_near_float32_and_weights_are_float32(model):
    loss, exact = gradients(model, torch.float32)
    rounded_loss, rounded = gradients(model, torch.bfloat16)
    assert loss != rounded_loss
    assert loss == pytest.approx(rounded_loss, abs=0.02)
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.99
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_an_attention_kernel_of_another_kind_is_given_float32_and_comes_back(model):
    from llmkit.nn.attention import Attention

    layers = [m for m in model.modules() if isinstance(m, Attention)]
    before = [layer.kernel for layer in layers]
    seen = set()

    def watch(kernel):
        def call(q, k, v, mask, *, scale, dropout):
            seen.update((q.dtype, k.dtype, v.dtype))
            return kernel(q, k, v, mask, scale=scale, dropout=dropout)

        return call

    for layer, kernel in zip(layers, before, strict=True):
        layer.kernel = watch(kernel)
    inside = [layer.kernel for layer in layers]
    gradients(model, torch.bfloat16)
    assert seen == {torch.float32}
    assert [layer.kernel for layer in layers] == inside


@pytest.mark.parametrize("most", [2**22, 0], ids=["spelled out", "fused"])
@pytest.mark.parametrize("is_padded", [False, True])
def test_short_and_long_sequences_attend_alike_within_the_rounding_of_bfloat16(model, most, is_padded, monkeypatch):
    from llmkit.training import precision

    monkeypatch.setattr(precision, "MOST_WEIGHTS", most)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3)
    ids = torch.arange(32).reshape(2, 16)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    mask = mask if is_padded else None
    exact = model(ids, mask).logits
    with mixed_precision(model, CPU, torch.bfloat16):
        rounded = model(ids, mask).logits.float()
    real = slice(None) if mask is None else mask.bool()
    assert torch.nn.functional.cosine_similarity(exact[real].flatten(), rounded[real].flatten(), dim=0) > 0.999


def test_only_sequences_whose_attention_weights_fit_are_spelled_out(model, monkeypatch):
    from llmkit.training import precision

    called = []

    def watched(name):
        kernel = getattr(precision, name)

        def call(q, *args, **options):
            called.append((name, q.dtype))
            return kernel(q, *args, **options)

        monkeypatch.setattr(precision, name, call)

    watched("stored_attention")
    watched("fused_attention")
    kernel = precision.on_processor(precision.fused_attention)
    monkeypatch.setattr(precision, "MOST_WEIGHTS", 2 * 3 * 4 * 4)
    for tokens in (4, 5):
        q = torch.randn(2, 3, tokens, 8).bfloat16()
        kernel(q, q, q, FREE, scale=1.0, dropout=0.0)
    assert called == [("stored_attention", torch.bfloat16), ("fused_attention", torch.float32)]


def test_auto_is_what_the_hardware_multiplies():
    assert training_dtype("auto", CPU) == fast_dtype(CPU)
    assert training_dtype("bfloat16", CPU) == torch.bfloat16
    assert training_dtype("float32", CPU) == torch.float32


def test_a_device_that_is_not_here_is_refused():
    from llmkit.errors import UsageError

    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no device 'cuda:3' here"):
            choose_device("cuda:3")


def test_of_several_processes_each_takes_a_gpu_of_its_own_or_all_are_refused_alike(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert [choose_device("auto", Place(rank, 2, rank, 2)).index for rank in (0, 1)] == [0, 1]
    assert taken == [0, 1]
    for rank in range(3):
        with pytest.raises(UsageError, match="3 processes on this machine cannot share 2 GPUs"):
            choose_device("auto", Place(rank, 3, rank, 3))
    assert choose_device("cpu", Place(2, 3, 2, 3)).type == "cpu"
    with pytest.raises(UsageError, match="2 processes cannot train on the one device 'cuda:1'"):
        choose_device("cuda:1", Place(0, 2, 0, 2))
