"""Attention within chunks: what is captured is what is computed, and hashes come from their seed alone."""

import copy

import pytest
import torch
from torch import nn

from llmkit.models.registry import load_family
from llmkit.nn.attention import AttentionPart
from llmkit.nn.capture import Site, capture_attention
from llmkit.nn.chunked_attention import ChunkAttention, HashedAttention
from llmkit.nn.chunks import ChunkedContext, Window
from llmkit.nn.hashing import Hashing, _seeded
from llmkit.nn.masks import AttentionMask

WIDTH, HEADS, HEAD = 10, 2, 4


def parts(window):
    hashed = [Hashing(rounds, buckets, seed=1) for rounds, buckets in ((1, ()), (3, (4,)), (2, (2, 4)))]
    return [
        ChunkAttention(WIDTH, HEADS, HEAD, window),
        *(HashedAttention(WIDTH, HEADS, HEAD, window, hashing) for hashing in hashed),
    ]


class Held(nn.Module):
    """A part where capture looks for it."""

    def __init__(self, part):
        super().__init__()
        self.blocks = nn.ModuleList([part])
        self.attention_sites = {"self": Site(self.blocks)}


@pytest.mark.parametrize(
    "window", [Window(4, 1, 0), Window(4, 0, 0), Window(6, 1, 1), Window(4, 2, 3), Window(40, 1, 0)]
)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [24, 21])
@torch.no_grad()
def test_a_map_times_the_values_is_what_comes_out(window, causal, length):
    torch.manual_seed(0)
    x = torch.randn(2, 24, WIDTH)
    seen = None if length == 24 else (torch.arange(24) < length)[None]
    for part in parts(window):
        for parameter in part.parameters():
            nn.init.normal_(parameter)
        part.out = nn.Identity()
        held = Held(part.eval())
        ctx = ChunkedContext(AttentionMask(None, causal), seen=seen, length=length, masks={})
        with capture_attention(held) as maps:
            captured = part(x, ctx)
        values = next(part.children())(x)[..., -HEADS * HEAD :].view(2, 24, HEADS, HEAD).transpose(1, 2)
        expected = maps[0] @ values[:, :, :length]
        # What float32 leaves of the sum of weights where a token sees itself alone, in several places.
        alone = (maps[0].diagonal(dim1=-2, dim2=-1) > 0.999)[..., None]
        difference = (captured[:, :length].view(2, length, HEADS, HEAD).transpose(1, 2) - expected).abs()
        assert (difference <= torch.where(alone, 0.01 * expected.abs(), 1e-4)).all()
        assert maps[0].shape == (2, HEADS, length, length)
        assert torch.allclose(maps[0].sum(-1), torch.ones(()), atol=1e-5)
        assert torch.allclose(captured, part(x, ctx), atol=1e-5), "capturing changes nothing"
        if causal:
            assert maps[0].triu(1).abs().max() == 0


def test_hashes_depend_on_their_seed_and_leave_the_global_generator_alone():
    vectors = torch.randn(2, 3, 16, 5)
    state = torch.get_rng_state()
    one, same, other = (Hashing(2, seed=seed)(vectors, None, 4, training=False) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())
    free = Hashing(2)
    assert torch.equal(free(vectors, None, 4, training=False), free(vectors, None, 4, training=False))
    assert not torch.equal(free(vectors, None, 4, training=True), free(vectors, None, 4, training=True))


def test_hashes_are_those_of_float32_under_autocast():
    vectors = torch.randn(2, 3, 400, 5)
    right = Hashing(2, (16,), seed=1)(vectors, None, 4, training=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(Hashing(2, (16,), seed=1)(vectors, None, 4, training=False), right)


def test_rotations_are_drawn_in_one_place_for_every_device():
    # The meta device has no generator of its own.
    assert _seeded((3, 4), 1, "meta").shape == (3, 4)
    if torch.cuda.is_available():
        assert torch.equal(_seeded((3, 4), 1, "cuda").cpu(), _seeded((3, 4), 1, "cpu"))


def test_rounds_and_padding_have_buckets_of_their_own():
    seen = torch.arange(16)[None] < 9
    buckets = Hashing(3, (4,), seed=0)(torch.randn(1, 2, 16, 5), seen, 4, training=False).view(1, 2, 3, 16)
    for number in range(3):
        assert (buckets[:, :, number, 9:] == 5 * number + 4).all()
        assert (buckets[:, :, number, :9] // 5 == number).all()
        assert (buckets[:, :, number, :9] % 5 < 4).all()


def test_the_number_of_buckets_follows_the_text_as_published():
    assert Hashing(max_seq_len=4096)._usual(1024, 64) == (32,)
    assert Hashing(max_seq_len=524288)._usual(524288, 64) == (128, 128)


def small(**more):
    family = load_family("reformer")
    torch.manual_seed(0)
    sizes = {"vocab_size": 31, "d_model": 16, "n_layers": 4, "n_heads": 2, "max_seq_len": 40, "hash_seed": 3}
    chunks = {"local_chunk": 4, "hashed_chunk": 4, "n_hashes": 2, "axial_std": 0.1}
    return family.build(family.config_class(**{**sizes, **chunks, **more}))


def test_a_text_of_many_chunks_traces_as_one_graph():
    model, ids = small(head="masked_lm").eval(), torch.randint(0, 31, (2, 18))
    traced = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(traced(ids).logits, model(ids).logits, atol=1e-6)


def test_no_token_reads_what_comes_after_it_in_local_layers():
    model, ids = small(layers=("local",) * 4).eval(), torch.randint(0, 31, (2, 18))
    with torch.no_grad():
        assert torch.allclose(model(ids).logits[:, :11], model(ids[:, :11]).logits, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("window", [Window(4, 1, 0), Window(4, 2, 3)])
@torch.no_grad()
def test_a_token_alone_gathers_itself_in_every_dtype(window, autocast):
    torch.manual_seed(0)
    x = torch.randn(2, 8, WIDTH)
    part = HashedAttention(WIDTH, HEADS, HEAD, window, Hashing(2, (4,), seed=1)).eval()
    for parameter in part.parameters():
        nn.init.normal_(parameter)
    part.out = nn.Identity()
    ctx = ChunkedContext(AttentionMask(None, True), length=8, masks={})
    values = part.qk_v(x)[..., -HEADS * HEAD :]
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            y = copy.deepcopy(part).to(torch.float32 if autocast else dtype)(x if autocast else x.to(dtype), ctx)
        assert y.isfinite().all()
        # The first token sees no other.
        assert torch.allclose(y[:, 0].float(), values[:, 0], rtol=0.05, atol=0.05), dtype


def test_training_takes_texts_of_any_length():
    model, ids = small(head="masked_lm", dropout=0.1).train(), torch.randint(0, 31, (2, 18))
    model(ids).logits.square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
    assert len([m for m in model.modules() if isinstance(m, AttentionPart)]) == 4


def test_the_compiler_is_told_that_seeded_hashes_are_constant_as_its_own_decorator_tells_it():
    marked = torch.compiler.assume_constant_result(lambda: None)
    assert vars(marked) == vars(_seeded)
