"""Guesses in a random order: which tokens are asked for, what each may see, and the loss of transformers' XLNet."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmkit.models.registry import load_family
from llmkit.training.objectives.objective import NO_TARGET
from llmkit.training.objectives.permutation import Frame, Permutation, hidden_from, order, spans

FRAME = Frame(sep=3, cls=2, pad=0)


@pytest.fixture
def wanted(documents):
    return Permutation(documents, FRAME, seq_len=24, batch_size=4, seed=0, rate=1 / 3)


def model(**more):
    torch.manual_seed(0)
    family = load_family("xlnet")
    sizes = {"vocab_size": 50, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 32, "max_seq_len": 24}
    net = family.build(family.config_class(**sizes, dropout=0.0, attention_dropout=0.0, head="permutation_lm", **more))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
    return net.eval()


def lengths(chosen):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(int), [0]])))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize("rate", [1 / 6, 0.3, 0.9])
def test_a_sixth_of_the_tokens_is_asked_for_in_runs_of_one_to_five(rate):
    rng = np.random.default_rng(0)
    drawn = [spans(600, rate, 5, rng) for _ in range(60)]
    assert np.mean(drawn) == pytest.approx(rate, abs=0.03)
    if rate < 0.2:
        # Runs that touch count as one; in a stretch six times as long that is rare.
        runs = np.concatenate([lengths(chosen) for chosen in drawn])
        assert np.isin(runs, range(1, 6)).mean() > 0.95
        assert np.bincount(runs, minlength=6)[1:6] / len(runs) == pytest.approx(np.full(5, 0.2), abs=0.04)
    # No place is favoured.
    assert np.mean(drawn, axis=0).reshape(10, 60).mean(1) == pytest.approx(np.full(10, rate), abs=0.06)


def test_something_is_asked_for_in_the_shortest_text():
    assert all(spans(n, 0.1, 5, np.random.default_rng(seed)).any() for n in (1, 2, 3) for seed in range(50))


def test_each_sees_all_that_is_never_asked_for_and_those_whose_turn_was_before():
    chosen = np.array([0, 1, 1, 0, 1, 0], dtype=bool)
    turns = order(chosen, np.random.default_rng(0))
    assert sorted(turns[chosen]) == [0, 1, 2]
    assert (turns[~chosen] == -1).all()
    hidden = hidden_from(turns[None])[0]
    for i in range(6):
        for j in range(6):
            sees = not chosen[j] or (chosen[i] and turns[j] < turns[i])
            assert hidden[i, j] == (not sees)


def test_orders_differ_and_all_are_as_likely():
    rng, chosen = np.random.default_rng(0), np.ones(3, dtype=bool)
    drawn = [tuple(order(chosen, rng)) for _ in range(1200)]
    assert {drawn.count(each) // 50 for each in set(drawn)} <= {3, 4}
    assert len(set(drawn)) == 6


def test_the_frame_is_never_asked_for_and_places_point_at_their_tokens(wanted, made):
    batch = made(wanted, wanted.picks(0, 8))
    real = batch.targets != NO_TARGET
    assert batch.counts["guessed"] == int(real.sum())
    ids = batch.target_mapping.long() @ batch.input_ids[..., None]
    assert torch.equal(ids.flatten()[batch.positions[real]], batch.targets[real])
    assert not set(batch.targets[real].tolist()) & {FRAME.sep, FRAME.cls, FRAME.pad}
    assert (batch.target_mapping.sum(-1) <= 1).all()
    asked = batch.perm_mask.diagonal(dim1=1, dim2=2)
    assert torch.equal(asked, batch.target_mapping.sum(1).to(asked.dtype))
    for ids, mask in zip(batch.input_ids.tolist(), batch.attention_mask.tolist(), strict=True):
        n = sum(mask)
        assert ids[n - 2 : n] == [FRAME.sep, FRAME.cls]
        assert set(ids[n:]) <= {FRAME.pad}


def test_the_loss_is_that_of_transformers(wanted, made):
    transformers = pytest.importorskip("transformers")
    from llmkit.weights.convert import export

    net = model()
    family = load_family("xlnet")
    raw = family.config_to_hf(net.config)
    theirs = transformers.XLNetLMHeadModel(transformers.XLNetConfig(**raw)).eval()
    theirs.load_state_dict(export(net, family.weight_rules(net.config)), strict=False)
    batch = made(wanted, wanted.picks(0, 6))
    places = batch.target_mapping.shape[1]
    labels = torch.full((6 * places,), -100)
    real = batch.targets != NO_TARGET
    labels[batch.positions[real]] = batch.targets[real]
    with torch.no_grad():
        out = theirs(
            batch.input_ids, attention_mask=batch.attention_mask.float(), perm_mask=batch.perm_mask.float(),
            target_mapping=batch.target_mapping.float(), use_mems=False,
        )  # fmt: skip
        by_them = F.cross_entropy(out.logits.flatten(0, 1), labels)
        torch.testing.assert_close(wanted.loss(net, batch).total, by_them, rtol=1e-5, atol=1e-5)
        measured = wanted.measure(net, batch)
        hits = (out.logits.flatten(0, 1).argmax(-1) == labels).sum()
    assert int(measured["accuracy"][0]) == int(hits)


@torch.no_grad()
def test_a_guess_does_not_depend_on_its_own_token_nor_on_later_turns(wanted, made):
    net, batch = model(), made(wanted, wanted.picks(0, 1))
    hides = batch.perm_mask[0].bool()
    real = int((batch.targets != NO_TARGET).sum())
    columns = batch.target_mapping[0, :real].argmax(-1)

    def guesses(ids):
        return net.encode(
            ids, batch.attention_mask, perm_mask=batch.perm_mask, target_mapping=batch.target_mapping
        )[0, :real]  # fmt: skip

    before = guesses(batch.input_ids)
    for j in range(batch.n_tokens):
        ids = batch.input_ids.clone()
        ids[0, j] = 5 + (ids[0, j] + 7) % 40
        moved = (guesses(ids) - before).abs().amax(-1) > 1e-7
        assert torch.equal(moved, ~hides[columns, j])


def test_a_sample_shows_the_text_with_holes(documents):
    decode = lambda ids: "".join(map(chr, ids))
    wanted = Permutation(documents, FRAME, seq_len=24, batch_size=4, seed=0, validation=documents, decode=decode)
    given, told = wanted.sample(model(), 5)
    assert given.count("___") == len(told.split(", "))
