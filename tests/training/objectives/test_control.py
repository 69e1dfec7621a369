"""Texts behind their codes: how they are cut, what they cost, and whether the code is guessed from the text."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmkit.data.corpus import TokenCorpus
from llmkit.errors import InputRefused
from llmkit.models.registry import load_family
from llmkit.training.objectives.control import MOST_TRIED, Coded, Control
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.objectives.objective import NO_TARGET

CODES = (7, 8, 9)


def corpus(lengths, codes=CODES):
    """Documents whose tokens are 100 times their number, plus the place; each begins with a code."""
    ids, starts = [], [0]
    for d, n in enumerate(lengths):
        ids += [codes[d % len(codes)], *(100 * (d + 1) + i for i in range(n))]
        starts.append(len(ids))
    return TokenCorpus.in_memory(np.array(ids), np.array(starts), np.array([0]))


def control(text, **more):
    return Control(text, **{"seq_len": 16, "batch_size": 4, "seed": 0, **more})


def model(name="ctrl"):
    torch.manual_seed(0)
    family = load_family(name)
    sizes = {"vocab_size": 1200, "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32, "max_seq_len": 32}
    net = family.build(family.config_class(**sizes, dropout=0.0, head="causal_lm")).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
    return net


def test_documents_are_cut_evenly_and_every_piece_is_led_by_its_code():
    text = Coded.of(corpus([5, 16, 17, 40, 0, 1]), 16)
    pieces = [[int(c), *text.piece(i).tolist()] for i, c in enumerate(text.code)]
    assert [len(p) - 1 for p in pieces] == [5, 16, 8, 9, 13, 13, 14, 1]
    for document, n in enumerate([5, 16, 17, 40, 0, 1]):
        mine = [p for p in pieces if p[1] // 100 == document + 1]
        assert [i for p in mine for i in p[1:]] == [100 * (document + 1) + i for i in range(n)]
        assert all(p[0] == CODES[document % 3] for p in mine)


def test_targets_are_all_tokens_but_the_code_each_seen_one_place_later(made):
    objective = control(Coded.of(corpus([3, 9, 16, 20, 4, 1]), 16))
    batch = made(objective, objective.picks(0, 4))
    real = batch.targets != NO_TARGET
    rows = batch.positions[real] // batch.input_ids.shape[1]
    for row, (ids, mask) in enumerate(zip(batch.input_ids, batch.attention_mask, strict=True)):
        targets = batch.targets[real][rows == row].tolist()
        n = int(mask.sum())
        assert len(targets) == n
        assert ids[0] in CODES
        assert ids[1:n].tolist() == targets[:-1]
        assert targets[-1] == targets[0] + n - 1
    assert batch.counts["token"] == batch.n_tokens == int(real.sum())


def test_padding_changes_no_loss(made):
    objective, net = control(Coded.of(corpus([3, 9, 16, 20, 4, 1]), 16)), model()
    picks = objective.picks(0, 4)
    together = objective.loss(net, made(objective, picks)).sums["token"]
    alone = [objective.loss(net, made(objective, picks.part(i, i + 1))).sums["token"] for i in range(4)]
    torch.testing.assert_close(together, sum(alone), rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_held_out_texts_are_tried_with_every_code(made):
    text = Coded.of(corpus([3, 9, 16, 20, 4, 1, 7]), 16)
    objective, net = control(text, validation=text), model()
    (picks,) = objective.held_out()
    found = objective.measure(net, made(objective, picks))
    right = wrong = hits = 0.0
    for piece in picks.index:
        ids = text.piece(piece)
        nats = {
            code: float(F.cross_entropy(net(torch.tensor([[code, *ids[:-1]]])).logits[0], torch.tensor(ids),
                                        reduction="sum"))
            for code in CODES
        }  # fmt: skip
        true = nats.pop(int(text.code[piece]))
        right, wrong = right + true, wrong + sum(nats.values()) / 2
        hits += true < min(nats.values())
    assert float(found["loss"][0]) == pytest.approx(right, rel=1e-5)
    assert float(found["wrong"][0]) == pytest.approx(wrong, rel=1e-5)
    assert (int(found["guessed"][0]), found["guessed"][1]) == (hits, len(picks.index))


@torch.no_grad()
def test_a_model_that_does_not_care_has_guessed_nothing(made):
    text = Coded.of(corpus([3, 9]), 16)
    objective, net = control(text, validation=text), model()
    net.embeddings.token.weight[list(CODES)] = 0.0
    found = objective.measure(net, made(objective, objective.held_out()[0]))
    assert int(found["guessed"][0]) == 0


def test_of_many_codes_a_few_are_tried_and_never_the_true_one(made):
    text = Coded.of(corpus([4] * 40, codes=tuple(range(20, 60))), 16)
    objective = control(text, validation=text)
    batch = made(objective, objective.held_out()[0])
    assert batch.others.shape == (40, MOST_TRIED - 1)
    assert not (batch.others == batch.input_ids[:, :1]).any()
    assert all(len(set(row)) == MOST_TRIED - 1 for row in batch.others.tolist())


def test_with_a_single_code_there_is_nothing_to_guess(made):
    text = Coded.of(corpus([4, 5], codes=(7,)), 16)
    objective = control(text, validation=text)
    found = objective.measure(model(), made(objective, objective.held_out()[0]))
    assert found.keys() == {"loss"}
    assert objective.scores({"loss": 1.0}).keys() == {"loss", "perplexity"}


def test_texts_of_nothing_but_codes_are_refused():
    with pytest.raises(InputRefused, match="no document of the training text has a token behind its code"):
        control(Coded.of(corpus([0, 0]), 16))


def test_samples_begin_with_one_code_after_another():
    asked = []
    objective = control(
        Coded.of(corpus([4] * 6), 16), prompt="One day", name=lambda code: f"<{code}>",
        continue_text=lambda model, prompt, step: asked.append(prompt) or "...",
    )  # fmt: skip
    for step in range(40):
        objective.sample(None, step)
    assert set(asked) == {f"<{code}>One day" for code in CODES}


def test_the_preview_marks_the_code(rngs):
    objective = control(Coded.of(corpus([4] * 6), 16))
    for glimpse in objective.preview(objective.picks(0, 3), rngs(3)):
        (code, mark), *rest = glimpse.lanes[0].tokens
        assert (code in CODES, mark) == (True, Mark.SPECIAL)
        assert [i for i, _ in rest] == [i for i, _ in glimpse.lanes[-1].tokens]
