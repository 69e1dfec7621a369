"""Packed blocks: which tokens see which, and the loss of every next token."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmkit.errors import UsageError
from llmkit.models.registry import load_family
from llmkit.recipe.schema import ObjectiveSettings, TrainSettings
from llmkit.training.objectives.causal import Causal, make
from llmkit.training.objectives.given import Given, Vocabulary
from llmkit.training.objectives.prefix import Prefix
from llmkit.training.objectives.prefix import make as make_prefix

SIZES = {"vocab_size": 50, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 32, "head": "causal_lm"}
STARTS = np.array([0, 3, 4, 14, 50, 60, 75, 100])


def model(name="llama"):
    torch.manual_seed(0)
    family = load_family(name)
    built = family.build(family.config_class(**SIZES)).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(0, 0.3)
    return built


def stream(n=100):
    return np.random.default_rng(0).integers(0, 50, n)


def apart(kind=Causal, **more):
    return kind(stream(), seq_len=12, seed=0, documents=STARTS, **more)


def test_every_token_knows_its_document(made):
    objective = apart()
    starts = objective._stream(objective.picks(0, 7))[1]
    batch = made(objective, objective.picks(0, 7))
    for start, documents in zip(starts, batch.documents, strict=True):
        of = [int((start + i >= STARTS).sum()) for i in range(12)]
        assert documents.tolist() == of


def test_the_loss_is_that_of_each_document_alone(made):
    objective, net = apart(), model()
    batch = made(objective, objective.picks(0, 7))
    found = objective.loss(net, batch).sums["token"]
    nats = torch.zeros(())
    for ids, targets, documents in zip(batch.input_ids, batch.targets, batch.documents, strict=True):
        for document in documents.unique():
            here = documents == document
            logits = net(ids[here][None]).logits[0]
            nats = nats + F.cross_entropy(logits, targets[here], reduction="sum")
    torch.testing.assert_close(found, nats, rtol=1e-5, atol=1e-4)


def test_a_batch_without_an_edge_has_no_mask(made):
    objective = Causal(stream(), seq_len=12, seed=0, documents=np.array([0, 100]))
    assert made(objective, objective.picks(0, 7)).documents is None


def test_held_out_text_is_cut_at_its_own_documents(made):
    objective = apart(validation=stream(40), validation_documents=np.array([0, 20, 40]))
    first, *_ = objective.held_out()
    documents = made(objective, first).documents
    assert documents.flatten().tolist() == [1] * 20 + [2] * 16


def given(family, name="causal", **objective):
    chosen = load_family(family)
    return Given(
        objective=ObjectiveSettings(name, **objective),
        train=TrainSettings(batch_size=2, seq_len=12),
        config=chosen.config_class(**SIZES),
        words=Vocabulary(size=50),
        text=None,
    )


@pytest.mark.parametrize("family", ["reformer", "transformer_xl"])
def test_a_model_that_cannot_tell_documents_apart_is_refused_by_name(family):
    with pytest.raises(UsageError, match=f"{family} cannot keep documents apart"):
        make(given(family, across_documents=False))


def test_a_prefix_model_that_cannot_see_both_ways_is_refused_by_name():
    with pytest.raises(UsageError, match="transformer_xl cannot see the beginning of a text both ways"):
        make_prefix(given("transformer_xl", "prefix"))


# prefix


def prefixed(**more):
    return Prefix(stream(4000), seq_len=12, seed=0, **more)


def test_prefixes_are_drawn_evenly_and_leave_something_to_say(made):
    objective = prefixed()
    batch = made(objective, objective.picks(0, 300))
    counts = torch.bincount(batch.prefix, minlength=12)
    assert batch.prefix.min() == 1
    assert batch.prefix.max() == 11
    assert counts[1:].min() > 10
    assert batch.counts["token"] == int((12 - batch.prefix + 1).sum())


def test_the_loss_is_on_what_follows_the_prefix_seen_both_ways(made):
    objective, net = prefixed(), model()
    batch = made(objective, objective.picks(0, 5))
    nats, from_left = torch.zeros(()), torch.zeros(())
    for ids, targets, length in zip(batch.input_ids, batch.targets, batch.prefix.tolist(), strict=True):
        allowed = torch.ones(12, 12, dtype=torch.bool).tril() | (torch.arange(12) < length)
        logits = net.head(by_hand(net, ids, allowed))
        nats = nats + F.cross_entropy(logits[length - 1 :], targets[length - 1 :], reduction="sum")
        plain = net(ids[None]).logits[0]
        from_left = from_left + F.cross_entropy(plain[length - 1 :], targets[length - 1 :], reduction="sum")
    torch.testing.assert_close(objective.loss(net, batch).sums["token"], nats, rtol=1e-5, atol=1e-4)
    measured = objective.measure(net, batch)
    torch.testing.assert_close(measured["loss"][0], nats, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(measured["loss_from_left"][0], from_left, rtol=1e-5, atol=1e-4)
    assert measured["loss"][1] == sum(13 - length for length in batch.prefix.tolist())


def by_hand(net, ids, allowed):
    """Hidden states with a mask of all pairs, given to every layer."""
    from llmkit.nn.context import Context
    from llmkit.nn.masks import AttentionMask

    positions = torch.arange(len(ids))[None]
    bias = torch.zeros(1, 1, *allowed.shape).masked_fill(~allowed, float("-inf"))
    rotation = net.rotary.rotation(positions, positions, torch.float32)
    return net.stack(net.embeddings(ids[None], positions, None), Context(AttentionMask(bias), rotation))[0]


def test_the_preview_of_a_prefix_gives_the_text_back(made, rngs):
    objective = prefixed()
    picks = objective.picks(0, 4)
    for glimpse, ids in zip(objective.preview(picks, rngs(4)), made(objective, picks).input_ids.tolist(), strict=True):
        text, seen, target = ([i for i, _ in lane.tokens] for lane in glimpse.lanes)
        assert seen + target == text
        assert text[:-1] == ids


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom"])
def test_a_model_trained_with_a_prefix_reads_its_prompt_both_ways(name, tmp_path):
    from llmkit.checkpoint.hf_layout import read_model, write_model
    from llmkit.generation.decode import Decoder
    from llmkit.generation.settings import Sampling

    torch.manual_seed(0)
    family = load_family(name)
    net = family.build(family.config_class(**SIZES, prefix_lm=True)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model", net)
    net = read_model(tmp_path / "model").eval()
    assert net.config.prefix_lm
    prompts = [[3, 4, 5, 6, 7], [9, 8, 7, 6, 5]]
    decoder = Decoder(net, prompts, Sampling(max_tokens=6, temperature=0.0))
    written = [[], []]
    for _ in range(6):
        for drawn in decoder.step():
            written[drawn.row].append(drawn.id)
    for prompt, ids in zip(prompts, written, strict=True):
        for n in range(6):
            so_far = torch.tensor([prompt + ids[:n]])
            with torch.no_grad():
                hidden = net.encode(so_far, prefix=torch.tensor([5]))
            assert int(net.head(hidden)[0, -1].argmax()) == ids[n]


def test_prompts_that_are_read_both_ways_share_a_batch_only_with_their_like():
    from llmkit.generation.text import _batches, _Row

    rows = [_Row(i, 0, (1,) * n) for i, n in enumerate((2, 2, 2, 3, 5, 5))]
    assert [len(b) for b in _batches(rows, 2, of_one_length=True)] == [2, 1, 1, 2]
    assert [len(b) for b in _batches(rows, 4, of_one_length=False)] == [4, 2]
