"""Segment recurrence: a memory carries earlier segments as the papers say, and a cache gives the same for less."""

import pytest
import torch

from llmkit.errors import UsageError
from llmkit.models.registry import load_family
from llmkit.nn.memory import SegmentMemory

SEGMENTS = (9, 13, 1, 7, 10)
RECURRENT = {
    "plain": {"mem_len": 12},
    "clamped": {"mem_len": 5, "clamp_len": 4},
    "same length": {"mem_len": 7, "same_length": True},
    "shared biases": {"mem_len": 3, "share_biases": True},
    "longer than the text": {"mem_len": 60},
}
TWO_STREAMS = {
    "all of it": {"mem_len": None},
    "short": {"mem_len": 6},
    "overlapping": {"mem_len": 8, "reuse_len": 5, "clamp_len": 7},
    "left to right": {"mem_len": 6, "attn_type": "uni"},
    "same length": {"mem_len": 6, "attn_type": "uni", "same_length": True},
    "halved": {"mem_len": 6, "bi_data": True},
}


def both(oracle, name, chosen, settings):
    """The oracle and ours, with spread weights."""
    module = oracle.modules[name]
    case = f"recurrence {settings}"
    module.CASES[case] = (chosen, module.BASE | settings)
    try:
        pair = oracle.make_pair(name, case)
    finally:
        del module.CASES[case]
    return pair.theirs, pair.ours


def pieces(rows):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 53, (rows, sum(SEGMENTS)), generator=generator).split(SEGMENTS, 1)


@pytest.mark.parametrize("settings", RECURRENT.values(), ids=RECURRENT)
@pytest.mark.parametrize("kept", ["memory", "cache"])
@torch.no_grad()
def test_a_decoder_reads_segments_as_the_paper_says(oracle, settings, kept):
    theirs, ours = both(oracle, "transformer_xl", oracle.modules["transformer_xl"].TransformerXLLMHeadModel, settings)
    memory = ours.new_memory() if kept == "memory" else ours.new_cache(3, 40)
    mems, seen = None, 0
    for ids in pieces(3):
        expected = theirs(ids, mems=mems)
        mems, seen = expected["mems"], seen + ids.shape[1]
        assert (ours(ids, cache=memory).logits - expected["logits"]).abs().max() <= 1e-5
        assert memory.length == seen
        if kept == "memory":
            assert memory.held == min(seen, ours.config.mem_len)
            for layer, right in enumerate(mems):
                assert (memory.states(layer) - right).abs().max() <= 1e-5


@pytest.mark.parametrize("settings", TWO_STREAMS.values(), ids=TWO_STREAMS)
@torch.no_grad()
def test_two_streams_read_segments_as_transformers_does(oracle, settings):
    module = oracle.modules["xlnet"]
    theirs, ours = both(oracle, "xlnet", module.XLNetLMHeadModel, settings)
    rows = 1 if "attn_type" in settings else 2  # its mask from left to right takes a batch of one only
    generator = torch.Generator().manual_seed(1)
    memory, mems = ours.new_memory(), None
    for ids in pieces(rows):
        places = module.places(generator, {"input_ids": ids}, n=min(4, ids.shape[1]))
        arguments = module.segments(generator, {"input_ids": ids}) | places
        expected = theirs(ids, **arguments, **({} if mems is None else {"mems": mems}))
        mems = expected.mems
        logits = ours(ids, **arguments, cache=memory).logits
        assert (logits - expected.logits).abs().max() <= 1e-5 * max(1, expected.logits.abs().median())
        assert memory.held == len(mems[0])
        for layer, right in enumerate(mems):
            assert (memory.states(layer) - right.transpose(0, 1)).abs().max() <= 1e-5


def small(name, **settings):
    family = load_family(name)
    torch.manual_seed(0)
    return family.build(family.config_class(vocab_size=53, d_model=24, n_layers=2, n_heads=3, init_std=0.3, **settings))


@pytest.mark.parametrize("name", ["transformer_xl", "xlnet"])
@torch.no_grad()
def test_reorder_moves_rows(name):
    model, order = small(name, mem_len=6).eval(), torch.tensor([2, 0, 0, 1])
    first, second, *_ = pieces(3)
    memory, moved = model.new_memory(), model.new_memory()
    for m in (memory, moved):
        model.encode(first, cache=m)
    expected = model.encode(second, cache=memory)
    moved.reorder(order)
    assert torch.allclose(model.encode(second[order], cache=moved), expected[order], atol=1e-5)


@pytest.mark.parametrize("name", ["transformer_xl", "xlnet"])
@torch.no_grad()
def test_truncate_forgets(name):
    model = small(name, mem_len=30).eval()
    first, second, third, *_ = pieces(3)
    memory = model.new_memory()
    model.encode(first, cache=memory)
    expected = model.encode(second, cache=memory)
    memory.truncate(9)
    assert (memory.length, memory.held) == (9, 9)
    assert torch.allclose(model.encode(second, cache=memory), expected, atol=1e-5)
    memory.truncate(0)
    assert (memory.length, memory.held) == (0, 0)
    assert torch.allclose(model.encode(third, cache=memory), model.encode(third), atol=1e-5)


@torch.no_grad()
def test_truncating_to_what_is_gone_is_refused():
    model = small("transformer_xl", mem_len=6).eval()
    memory = model.new_memory()
    for ids in pieces(3):
        model.encode(ids, cache=memory)
    with pytest.raises(UsageError, match="what it held then is gone"):
        memory.truncate(35)
    with pytest.raises(UsageError, match="memory of 40 tokens to 41"):
        memory.truncate(41)
    memory.truncate(0)


@pytest.mark.parametrize("name", ["transformer_xl", "xlnet"])
def test_no_gradient_flows_into_earlier_segments(name):
    """But the projections of keys and values learn from what is remembered."""
    model = small(name, mem_len=6, dropout=0.0, attention_dropout=0.0)
    first, second, *_ = pieces(2)
    memory = model.new_memory()
    model.encode(first, cache=memory)
    model.encode(second, cache=memory).square().sum().backward()
    gradient = model.embeddings.token.weight.grad.abs().sum(-1)
    assert gradient[second.unique()].min() > 0
    only_first = sorted(set(first.flatten().tolist()) - set(second.flatten().tolist()))
    assert only_first
    assert gradient[only_first].max() == 0
    assert model.stack.blocks[0]["attn"].body.kv.weight.grad.abs().sum() > 0


def test_training_goes_on_across_segments():
    """The memory outlives steps of the optimizer: it holds numbers, no graph, and no parameters."""
    model = small("transformer_xl", mem_len=6).train()
    optimizer, memory = torch.optim.SGD(model.parameters(), 1e-3), model.new_memory()
    for ids in pieces(2):
        model(ids, cache=memory).logits.logsumexp(-1).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert memory.length == 40
    assert not any(memory.states(layer).requires_grad for layer in range(2))


@torch.no_grad()
def test_padding_of_earlier_segments_stays_hidden():
    """A left-padded text in segments equals the same text without padding."""
    model = small("transformer_xl", mem_len=20).eval()
    ids = torch.cat(pieces(1), 1)[:, :16]
    mask = torch.ones_like(ids)
    mask[:, :3] = 0
    memory = model.new_memory()
    model.encode(ids[:, :7], mask[:, :7], cache=memory)
    rest = model.encode(ids[:, 7:], mask, cache=memory)
    assert torch.allclose(rest, model.encode(ids[:, 3:])[:, 4:], atol=1e-5)


def test_a_memory_without_a_length_keeps_everything():
    memory = SegmentMemory(1, 0)
    for ids in pieces(2):
        memory.recall(0, ids[..., None].float())
        memory.advance(ids.shape[1])
    assert memory.held == memory.length == 40
    assert torch.equal(memory.states(0)[..., 0], torch.cat(pieces(2), 1).float())


def test_a_batch_that_cannot_be_halved_is_refused():
    model = small("xlnet", two_directions=True)
    with pytest.raises(UsageError, match="3 texts cannot be halved"):
        model.encode(pieces(3)[0])
