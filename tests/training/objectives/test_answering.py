"""What the objectives of two stacks share: the loss as transformers has it, writing, resuming, and that they learn."""

import copy
import itertools

import numpy as np
import pytest
import torch

from llmkit.checkpoint.hf_layout import write_model
from llmkit.generation.text import source_ids
from llmkit.recipe.tasks import FRAME, SENTINELS
from llmkit.tokenization.framing import close_texts
from llmkit.tokenization.train import train as train_tokenizer
from llmkit.training.evaluation import evaluate
from llmkit.training.events import Evaluation, Step
from llmkit.training.learner import Learner
from llmkit.training.objectives.answering import greedy
from llmkit.training.objectives.answers import Example, Frame, batch_of, source_frame
from llmkit.training.objectives.given import make_objective
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.objectives.objective import NO_TARGET
from llmkit.training.optim import make_optimizer
from llmkit.training.progress import Progress
from llmkit.training.saving import Commit
from llmkit.training.token_ids import token_ids
from llmkit.training.trainer import Trainer

OBJECTIVES = ("span_corruption", "denoising", "gap_sentences", "future_ngram", "seq2seq")
FAMILIES = ("marian", "t5", "switch_transformers", "bart", "pegasus", "prophetnet")
PAD, END = 0, 1


def rngs(n, seed=0):
    return [np.random.default_rng((seed, i)) for i in range(n)]


@pytest.fixture(autouse=True, scope="module")
def _repaired():
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[2] / "models"))
    from repairs import repair_prophetnet

    repair_prophetnet()


@pytest.fixture
def oracle(tmp_path):
    """The same model in transformers, from the files we write."""

    def load(model):
        from transformers import AutoModelForSeq2SeqLM

        directory = tmp_path / model.config.__class__.__name__
        directory.mkdir()
        write_model(directory, model)
        return AutoModelForSeq2SeqLM.from_pretrained(directory).eval()

    return load


# batches


def test_the_decoder_reads_the_answer_one_place_later_and_only_real_tokens_are_targets():
    frame = Frame(before=(3,), after=(4, 1), start=9, begin=(8,), end=1, pad=0)
    ids = [np.array(ids) for ids in ([10, 11], [20], [12], [21, 22, 23])]
    batch = batch_of([Example(ids[0], ids[0], ids[1]), Example(ids[2], ids[2], ids[3])], frame, most=5)
    assert batch.input_ids.tolist() == [[3, 10, 11, 4, 1], [3, 12, 4, 1, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert batch.decoder_input_ids.tolist() == [[9, 8, 20, 1, 0], [9, 8, 21, 22, 23]]
    real = batch.targets != NO_TARGET
    assert batch.targets[real].tolist() == [8, 20, 1, 8, 21, 22, 23, 1]
    assert batch.positions[real].tolist() == [0, 1, 2, 5, 6, 7, 8, 9]
    assert batch.counts == {"token": 8}
    assert batch.n_tokens == 9 + 8


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram", "char"])
def test_a_source_is_framed_as_a_prompt_is(algorithm, make_given, build):
    tokenizer = train_tokenizer(["Tom lost his red kite in the park. "] * 9, algorithm=algorithm, vocab_size=400)
    given = make_given("seq2seq", config={"vocab_size": tokenizer.vocab_size, "max_seq_len": 64})
    text = "his kite in the park"
    before, after = source_frame(tokenizer)
    assert [*before, *tokenizer.encode(text), *after] == source_ids(build(given), tokenizer, text)


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram"])
def test_a_model_of_two_stacks_knows_what_begins_and_ends_its_outputs(algorithm, make_given):
    special = (*FRAME, *SENTINELS[:2])
    tokenizer = train_tokenizer(["a b c d"] * 9, algorithm=algorithm, vocab_size=400, extra_special=special)
    end = tokenizer.sep_id if algorithm == "wordpiece" else tokenizer.eos_id
    for name, begins in [("marian", "pad"), ("t5", "pad"), ("pegasus", "pad"), ("bart", "end"), ("prophetnet", "end")]:
        found = token_ids(type(make_given("seq2seq", family=name).config), tokenizer)
        assert found["eos_id"] == end is not None
        assert found["decoder_start_id"] == (end if begins == "end" else tokenizer.pad_id)


# the loss


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_transformers(family, make_given, build, oracle):
    config = {"init_std": 0.3} | ({"balance_weight": 0.0, "z_weight": 0.0} if family == "switch_transformers" else {})
    given = make_given("seq2seq", family=family, config=config)
    objective, model = make_objective(given), build(given).eval()
    batch = objective.collate(objective.picks(0, 6), rngs(6))
    assert batch.attention_mask is not None, "some rows are padded"
    labels = torch.full(batch.decoder_input_ids.shape, -100)
    real = batch.targets != NO_TARGET
    labels.view(-1)[batch.positions[real]] = batch.targets[real]
    # They shift the labels themselves, to what we give the decoder.
    theirs = oracle(model)(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels)
    loss = float(objective.loss(model, batch).total.detach())
    assert loss == pytest.approx(theirs.loss.item(), rel=1e-5)
    assert loss > 3


@pytest.mark.parametrize(("settings", "ngram"), [({"label_smoothing": 0.2}, 3), ({"next_token_only": True}, 2)])
def test_prophetnet_keeps_to_its_own_settings_of_the_loss(settings, ngram, make_given, build, oracle):
    given = make_given("future_ngram", config={"init_std": 0.3, "ngram": ngram, **settings})
    objective, model = make_objective(given), build(given).eval()
    batch = objective.collate(objective.picks(0, 6), rngs(6))
    labels = torch.full(batch.decoder_input_ids.shape, -100)
    real = batch.targets != NO_TARGET
    labels.view(-1)[batch.positions[real]] = batch.targets[real]
    theirs = oracle(model)
    found = theirs(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels)
    assert float(objective.loss(model, batch).total.detach()) == pytest.approx(found.loss.item(), rel=1e-5)


def test_label_smoothing_is_that_of_torch(make_given, build):
    given = make_given("seq2seq", objective={"label_smoothing": 0.1})
    objective, model = make_objective(given), build(given).eval()
    batch = objective.collate(objective.picks(0, 6), rngs(6))
    hidden = model.decode(batch.decoder_input_ids, model.remember(batch.input_ids, batch.attention_mask))
    logs = model.head(hidden).log_softmax(-1).flatten(0, 1)[batch.positions][batch.targets != NO_TARGET]
    targets = batch.targets[batch.targets != NO_TARGET]
    # Vaswani et al. 2017, section 5.4: the truth's share is 1 - eps, and eps is spread over the whole vocabulary.
    wanted = torch.full_like(logs, 0.1 / 60).scatter_add_(1, targets[:, None], torch.full((len(targets), 1), 0.9))
    smoothed = float(-(wanted * logs).sum(-1).mean().detach())
    assert float(objective.loss(model, batch).total.detach()) == pytest.approx(smoothed, rel=1e-5)


# writing


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_writes_the_same_in_transformers(family, make_given, build, oracle):
    spread = {"t5": 3.0, "switch_transformers": 3.0, "pegasus": 1.0}.get(family, 0.5)
    model = build(make_given("seq2seq", family=family, config={"init_std": spread}), seed=5).eval()
    sources = [[10, 11, 12, END], [13, 14, END], [20, 21, 22, 23, 24, 25, END]]
    start = model.config.decoder_start_id
    assert start == (END if family in ("bart", "prophetnet") else PAD)
    ours = greedy(model, sources, [start], {END}, 8)
    theirs = oracle(model)
    for source, written in zip(sources, ours, strict=True):
        ids = theirs.generate(torch.tensor([source]), max_new_tokens=8, do_sample=False, num_beams=1)[0].tolist()
        assert ids[0] == start
        ids = ids[1:]
        assert written == (ids[: ids.index(END)] if END in ids else ids)
    assert len(set(map(tuple, ours))) > 1, "the source matters"


# all objectives


class Memory:
    """Checkpoints in memory."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer, self.saved = model, optimizer, {}

    def __call__(self, progress):
        weights = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        state = {n: t.clone() for n, t in self.optimizer.state().items()}
        self.saved[progress.step] = (weights, state, copy.deepcopy(progress.to_values()))
        return Commit("x", 1)


def trainer(given, model, start=None):
    objective = make_objective(given)
    optimizer = make_optimizer(Learner(model, objective), given.train)
    progress = Progress()
    if start is not None:
        weights, state, values = start
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(weights[name])
            for name, t in optimizer.state().items():
                t.copy_(state[name])
        progress = Progress.from_values(copy.deepcopy(values))
    events = []
    made = Trainer(
        model, objective, optimizer, given.train, progress=progress, emit=events.append, save=Memory(model, optimizer)
    )
    return made, events


@pytest.mark.parametrize("name", OBJECTIVES)
def test_resuming_equals_never_stopping(name, make_given, build):
    given = make_given(name, accumulate=2, steps=6, save_every=1, eval_every=2, eval_batches=1, config={"dropout": 0.1})
    whole, events = trainer(given, build(given))
    whole.run()
    for step in (1, 4):
        resumed, again = trainer(given, build(given, seed=9), start=whole.saver.write.saved[step])
        resumed.run()
        for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
            assert torch.equal(a, b)
        for kind, value in ((Step, lambda e: e.loss.hex()), (Evaluation, lambda e: e.scores)):
            told = {e.step: value(e) for e in events if isinstance(e, kind)}
            assert {e.step: value(e) for e in again if isinstance(e, kind)} == {
                at: v for at, v in told.items() if at > step
            }


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_example_does_not_depend_on_the_batch_it_comes_in(name, make_given):
    objective = make_objective(make_given(name))
    picks = objective.picks(0, 8)
    together = objective.examples(picks, rngs(8))
    alone = [objective.examples(picks.part(i, i + 1), rngs(8)[i : i + 1])[0] for i in range(8)]
    for a, b in zip(together, alone, strict=True):
        assert (a.source.tolist(), a.target.tolist()) == (b.source.tolist(), b.target.tolist())


@pytest.mark.parametrize(
    ("name", "skill", "least"),
    [
        ("span_corruption", "accuracy", 0.6),
        ("denoising", "sentences_restored", 0.6),
        ("gap_sentences", "rouge_1", 0.5),
        ("future_ngram", "accuracy", 0.5),
        ("seq2seq", "sentences_exact", 0.5),
    ],
)
def test_it_is_learned(name, skill, least, make_given, build):
    """The text counts, so that what is missing follows from what is there."""
    config = {"d_model": 32, "n_heads": 2, "d_ff": 64, "init_std": 1.0 if name == "span_corruption" else 0.1}
    objective = {"permute_sentences": False} if name == "denoising" else {}
    speed = {"steps": 150, "batch_size": 16, "lr": 1e-2, "optimizer": "muon", "warmup_steps": 10}
    given = make_given(name, config=config, objective=objective, eval_every=0, save_every=0, **speed)
    made, _ = trainer(given, build(given))
    before = evaluate(made.objective, made.model, most=3)
    made.run()
    after = evaluate(made.objective, made.model, most=3)
    assert before[skill] < 0.2
    assert after[skill] > least
    assert after["loss"] < 0.7 * before["loss"]
    assert next(iter(after)) == "loss"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_preview_shows_what_the_batch_holds(name, make_given):
    objective = make_objective(make_given(name))
    picks = objective.picks(0, 3)
    batch = objective.collate(picks, rngs(3))
    ends = np.cumsum([0, *(len(g.lanes[2].tokens) for g in objective.preview(picks, rngs(3)))])
    for row, glimpse in enumerate(objective.preview(picks, rngs(3))):
        _, source, target = glimpse.lanes
        assert [lane.name for lane in glimpse.lanes] == ["text", "input", "target"]
        n = len(source.tokens)
        assert [i for i, _ in source.tokens] == batch.input_ids[row, :n].tolist()
        assert batch.attention_mask is None or int(batch.attention_mask[row].sum()) == n
        assert [i for i, _ in target.tokens] == batch.targets[ends[row] : ends[row + 1]].tolist()
        assert {m for i, m in target.tokens if 5 <= i < 50} == {Mark.TARGET}
        assert (name == "seq2seq") == all(m in (Mark.PLAIN, Mark.SPECIAL) for _, m in source.tokens)


def test_writing_stops_at_the_end_token_and_rows_do_not_depend_on_each_other(make_given, build):
    model = build(make_given("seq2seq", config={"init_std": 0.5}), seed=5).eval()
    sources = [[10, 11, 12, END], [13, 14, END], [20, 21, 22, 23, 24, 25, END]]
    together = greedy(model, sources, [PAD], {END, 33}, 12)
    alone = list(itertools.chain(*(greedy(model, [s], [PAD], {END, 33}, 12) for s in sources)))
    assert together == alone
    assert all(END not in t and 33 not in t for t in together)


@pytest.mark.parametrize("algorithm", ["bpe", "char", "unigram", "wordpiece"])
def test_transformers_reads_a_text_as_we_do(algorithm, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = train_tokenizer(["Tom lost his red kite in the park. "] * 9, algorithm=algorithm, vocab_size=400)
    close_texts(tokenizer)
    before, after = source_frame(tokenizer)
    assert after == (tokenizer.sep_id if algorithm == "wordpiece" else tokenizer.eos_id,)
    tokenizer.save(tmp_path)
    text = "Tom lost his kite."
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == [*before, *tokenizer.encode(text), *after]


@torch.no_grad()
def test_parameters_that_lie_on_several_processes_are_not_written_with(make_given, build):
    given = make_given("seq2seq")
    objective, model = make_objective(given), build(given).eval()
    batch = objective.collate(objective.held_out()[0], rngs(4))
    assert {"sentences_exact", "bleu"} <= objective.measure(model, batch).keys()
    model.head.decoder.weight.to_local = lambda: None
    assert "sentences_exact" not in (found := objective.measure(model, batch))
    assert objective.scores({name: float(total) for name, (total, _) in found.items()}).keys() == {"loss", "accuracy"}
