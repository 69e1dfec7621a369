import pytest
import torch

from llmkit.models.registry import load_family
from llmkit.training import compiling
from llmkit.training.compiling import blocks_of, compile_blocks
from llmkit.training.precision import mixed_precision

CPU = torch.device("cpu")


def build(name="gpt2", **fields):
    torch.manual_seed(0)
    family = load_family(name)
    head = next(h for h in family.config_class.HEADS if h.endswith(("lm", "pretraining")) or h == "seq2seq")
    sizes = {"vocab_size": 50, "d_model": 32, "n_layers": 3, "n_heads": 2, "max_seq_len": 64}
    config = family.config_class(**sizes, head=head, dropout=0.0, attention_dropout=0.0, **fields)
    return family.build(config).train()


def gradients(model, dtype):
    model.zero_grad()
    with mixed_precision(model, CPU, dtype):
        model.encode(torch.arange(32).reshape(2, 16)).float().square().sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(("name", "n"), [("gpt2", 3), ("albert", 1), ("t5", 6), ("reformer", 3)])
def test_every_block_is_found_and_a_shared_one_once(name, n):
    assert len(blocks_of(build(name))) == n


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 0.99999), (torch.bfloat16, 0.995)])
def test_compiled_blocks_learn_the_same_and_keep_their_names(dtype, least):
    plain, compiled = build(), build()
    assert list(compile_blocks(compiled, CPU, backend="eager")) == [compiling.COST]
    for _ in range(2):
        exact, found = gradients(plain, dtype), gradients(compiled, dtype)
        assert torch.nn.functional.cosine_similarity(exact, found, dim=0) > least
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert all(block._compiled_call_impl is not None for block in blocks_of(compiled))


def test_without_a_compiler_one_line_says_so_and_the_model_stays_as_it_is(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    model = build()
    (said,) = compile_blocks(model, CPU)
    assert "no C++ compiler (no-such-compiler) is here; the model trains uncompiled" in said
    assert all(block._compiled_call_impl is None for block in blocks_of(model))
    (said,) = compile_blocks(model, torch.device("mps"))
    assert "no compiler for mps" in said


def test_a_compiler_that_fails_is_named_after_the_cost_and_the_model_stays_as_it_is():
    model = build()
    cost, failure = compile_blocks(model, CPU, backend="no-such-backend")
    assert cost == compiling.COST
    assert "the compiler fails here" in failure
    assert all(block._compiled_call_impl is None for block in blocks_of(model))


def test_a_model_without_blocks_is_left_alone():
    (said,) = compile_blocks(torch.nn.Linear(2, 2), CPU)
    assert "no repeated blocks" in said
