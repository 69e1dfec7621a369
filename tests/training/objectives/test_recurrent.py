"""Segments carry a memory from step to step, as if the text were read in one go."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmkit.errors import InputRefused
from llmkit.models.registry import load_family
from llmkit.training.objectives.recurrent import EVAL_SEGMENTS, Recurrent

SEQ = 6


def model(mem_len=200, **more):
    torch.manual_seed(0)
    family = load_family("transformer_xl")
    sizes = {"vocab_size": 500, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 32, "max_seq_len": 32}
    net = family.build(family.config_class(**sizes, mem_len=mem_len, dropout=0.0, head="causal_lm", **more))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
    return net


def objective(n=500, *, batch_size=3, accumulate=2, **more):
    """On a text in which every token is its own place."""
    return Recurrent(np.arange(n), seq_len=SEQ, seed=0, batch_size=batch_size, accumulate=accumulate, **more)


def test_each_row_goes_on_where_it_stopped_and_tracks_do_not_meet(made):
    wanted = objective()
    read = [[] for _ in range(6)]
    for step in range(wanted.n_segments):
        for micro in range(2):
            batch = made(wanted, wanted.picks(step * 6 + micro * 3, 3))
            assert batch.micro == micro
            assert batch.begins == (step == 0)
            assert torch.equal(batch.targets, batch.input_ids + 1)
            for row, ids in enumerate(batch.input_ids.tolist()):
                read[micro * 3 + row] += ids
    for track in read:
        assert track == list(range(track[0], track[0] + wanted.n_segments * SEQ))
    together = sorted(i for track in read for i in track)
    assert len(set(together)) == len(together)
    assert len(together) > 0.8 * 500


def test_an_epoch_begins_with_nothing_in_memory_and_elsewhere(made):
    wanted = objective()
    starts = set()
    for epoch in range(5):
        batch = made(wanted, wanted.picks(epoch * wanted.n_examples, 3))
        assert batch.begins
        starts.add(int(batch.input_ids[0, 0]))
    assert len(starts) > 2


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_losses_of_segments_are_those_of_one_long_pass(accumulate, made):
    wanted, net = objective(accumulate=accumulate), model()
    tracks = 3 * accumulate
    steps, sums, ids = 4, [[] for _ in range(accumulate)], [[] for _ in range(accumulate)]
    for step in range(steps):
        for micro in range(accumulate):
            batch = made(wanted, wanted.picks(step * tracks + micro * 3, 3))
            sums[micro].append(wanted.loss(net, batch).sums["token"])
            ids[micro].append(torch.cat([batch.input_ids, batch.targets[:, -1:]], 1))
    for micro in range(accumulate):
        whole = torch.cat([*(part[:, :-1] for part in ids[micro]), ids[micro][-1][:, -1:]], 1)
        logits = net(whole[:, :-1]).logits
        nats = F.cross_entropy(logits.transpose(1, 2), whole[:, 1:], reduction="none")
        for step, found in enumerate(sums[micro]):
            torch.testing.assert_close(found, nats[:, step * SEQ : (step + 1) * SEQ].sum(), rtol=1e-5, atol=1e-4)


def test_no_gradient_flows_into_what_is_remembered(made):
    wanted, net = objective(accumulate=1), model(tie_embeddings=False)
    first, second = (made(wanted, wanted.picks(position, 3)) for position in (0, 3))
    wanted.loss(net, first)
    remembering = wanted.loss(net, second).total
    remembering.backward()
    gradient = net.embeddings.token.weight.grad.abs().sum(1)
    assert (gradient[second.input_ids] > 0).all()
    assert (gradient[first.input_ids] == 0).all()
    nothing = F.cross_entropy(net(second.input_ids).logits.flatten(0, 1), second.targets.flatten())
    assert abs(float((remembering - nothing).detach())) > 1e-3, "it did look there"


def test_what_is_remembered_survives_being_stored(made):
    wanted, net = objective(), model(mem_len=8)
    for position in (0, 3, 6, 9):
        wanted.loss(net, made(wanted, wanted.picks(position, 3)))
    state = {name: tensor.clone() for name, tensor in wanted.state().items()}
    assert state.keys() == {"0.0", "0.1", "1.0", "1.1"}
    assert all(tensor.shape == (3, 8, 16) for tensor in state.values())
    again = objective()
    again.load_state(state)
    assert again.state().keys() == state.keys(), "also before the next step"
    for position in (12, 15):
        batch = made(wanted, wanted.picks(position, 3))
        assert torch.equal(wanted.loss(net, batch).sums["token"], again.loss(net, batch).sums["token"])
    assert all(torch.equal(a, b) for a, b in zip(wanted.state().values(), again.state().values(), strict=True))


@torch.no_grad()
def test_held_out_text_is_read_in_a_row_with_and_without_memory(made):
    span = EVAL_SEGMENTS * SEQ
    validation = np.random.default_rng(0).integers(0, 500, 2 * span + 40)
    wanted, net = objective(validation=validation), model()
    with_memory = without = n = 0.0
    for picks in wanted.held_out():
        batch = made(wanted, picks)
        found = wanted.measure(net, batch)
        with_memory += float(found["loss"][0])
        without += float(found["loss_without_memory"][0])
        n += found["loss"][1]
    assert n == len(validation) - 1
    wanted_with = wanted_without = 0.0
    for start in range(0, len(validation) - 1, span):
        block = torch.tensor(validation[start : start + span + 1])[None]
        wanted_with += float(F.cross_entropy(net(block[:, :-1]).logits[0], block[0, 1:], reduction="sum"))
        for at in range(0, block.shape[1] - 1, SEQ):
            part = block[:, at : at + SEQ + 1]
            wanted_without += float(F.cross_entropy(net(part[:, :-1]).logits[0], part[0, 1:], reduction="sum"))
    assert with_memory == pytest.approx(wanted_with, rel=1e-5)
    assert without == pytest.approx(wanted_without, rel=1e-5)
    assert not wanted.state(), "what training remembers is left alone"


def test_a_text_too_short_for_its_tracks_is_refused():
    with pytest.raises(InputRefused, match="too few for 6 tracks of 6"):
        objective(30)


def test_a_step_that_was_left_out_leaves_nothing_behind(made):
    net, wanted = model(), objective()
    for step in range(3):
        wanted.loss(net, made(wanted, wanted.picks(step * 6, 3)))
    assert wanted.state()
    wanted.left_out()
    assert not wanted.state()
    batch = made(wanted, wanted.picks(3 * 6, 3))
    alone = F.cross_entropy(net(batch.input_ids).logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
    torch.testing.assert_close(wanted.loss(net, batch).total * batch.targets.numel(), alone)
