import pytest
import torch

from llmkit.models.registry import load_family
from llmkit.training.device import choose_device, fast_dtype, training_dtype
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


def test_attention_stays_in_float32_and_the_kernels_come_back(model):
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
