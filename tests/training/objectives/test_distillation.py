import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmkit.errors import UsageError
from llmkit.models.registry import load_family
from llmkit.training.evaluation import evaluate
from llmkit.training.learner import Learner
from llmkit.training.objectives.apprentice import check_teacher, hidden_width, start_from
from llmkit.training.objectives.causal import Causal
from llmkit.training.objectives.distillation import Distillation, Weights, divergence
from llmkit.training.objectives.hiding import Hiding
from llmkit.training.objectives.masked import Masked
from llmkit.training.optim import make_optimizer
from llmkit.training.trainer import Trainer

SIZES = {"vocab_size": 50, "d_model": 16, "n_heads": 2, "d_ff": 32, "max_seq_len": 32, "dropout": 0.0}


def network(name="bert", head="masked_lm", n_layers=2, seed=0, **more):
    torch.manual_seed(seed)
    family = load_family(name)
    fields = {**SIZES, "n_layers": n_layers, "attention_dropout": 0.0, "init_std": 0.3, **more}
    return family.build(family.config_class(**fields, head=head))


@pytest.fixture
def encoders(documents, mask_tokens):
    def make(teacher, weights=Weights(), **options):
        hiding = Hiding(mask_tokens, 0.2)
        data = Masked(documents, hiding, seq_len=24, batch_size=8, seed=0, pairs=None, validation=documents)
        return Distillation(data, teacher, weights, **options)

    return make


@pytest.fixture
def decoders(stream):
    return lambda teacher, weights=Weights(): Distillation(
        Causal(stream[:400], seq_len=8, seed=3, validation=stream[400:], validation_bytes=200), teacher, weights
    )


def test_the_divergence_is_the_textbooks():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 9), torch.randn(5, 9)
    p, q = (teacher / 3).softmax(-1).double(), (student / 3).softmax(-1).double()
    expected = 9 * (p * (p / q).log()).sum(-1)
    torch.testing.assert_close(divergence(student, teacher, 3.0).double(), expected, rtol=1e-4, atol=1e-6)
    assert divergence(teacher, teacher, 3.0).abs().max() < 1e-6


def test_the_loss_of_an_encoder_is_made_of_its_three_parts(encoders, made):
    teacher, student = network(seed=1, n_layers=4), network("distilbert").eval()
    task = encoders(teacher, Weights(5.0, 2.0, 1.0, 2.0))
    batch = made(task, task.picks(0, 8))
    n = int((batch.targets >= 0).sum())
    assert batch.counts == {"teacher": n, "truth": n, "hidden": int(batch.attention_mask.sum())}
    mine = student.encode(batch.input_ids, batch.attention_mask)
    theirs = teacher.encode(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    truth, chosen = batch.originals()
    s, t = student.head(mine)[chosen], teacher.head(theirs)[chosen]
    kl = F.kl_div((s / 2).log_softmax(-1), (t / 2).softmax(-1), reduction="batchmean") * 4
    real = batch.attention_mask.bool()
    turned = F.cosine_embedding_loss(mine[real], theirs[real], torch.ones(int(real.sum())))
    expected = 5 * kl + 2 * F.cross_entropy(s, truth[chosen]) + turned
    torch.testing.assert_close(task.loss(student, batch).total, expected, rtol=1e-5, atol=1e-5)


def test_a_decoder_learns_from_its_teacher_at_every_place(decoders, made):
    teacher, student = (network("gpt2", "causal_lm", seed=seed).eval() for seed in (0, 1))
    task = decoders(teacher, Weights(1.0, 0.0, 0.0, 1.0))
    batch = made(task, task.picks(0, 4))
    assert batch.counts == {"teacher": 32}
    s, t = (model(batch.input_ids).logits.flatten(0, 1).log_softmax(-1) for model in (student, teacher))
    expected = F.kl_div(s, t, reduction="batchmean", log_target=True)
    torch.testing.assert_close(task.loss(student, batch).total, expected, rtol=1e-5, atol=1e-5)
    found = evaluate(task, teacher)
    assert found["agreement"] == 1.0
    assert found["loss"] == pytest.approx(0.0, abs=1e-5)
    assert found["nats"] == found["teacher_nats"]


def test_a_teacher_neither_learns_nor_drops_anything(encoders):
    teacher, student = network(dropout=0.5, n_layers=1), network(seed=1)
    task = encoders(teacher)
    learner = Learner(student, task)
    learner.train()
    assert not teacher.training
    assert task.partner is None
    assert set(learner.learning()) == set(dict(student.named_parameters()))
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_student_comes_to_agree_with_its_teacher(encoders, settings):
    teacher, student = network(seed=5), network("distilbert", seed=1, init_std=0.1)
    before = copy.deepcopy(teacher.state_dict())
    task = encoders(teacher, Weights(1.0, 0.0, 0.0, 1.0))
    s = settings(steps=80, batch_size=8, accumulate=1, lr=1e-2, save_every=0, eval_every=0)
    first = evaluate(task, student.eval())
    Trainer(student, task, make_optimizer(Learner(student, task), s), s).run()
    last = evaluate(task, student.eval())
    assert last["agreement"] > first["agreement"] + 0.2
    assert last["loss"] < 0.5 * first["loss"]
    assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())


# starting from the teacher


def test_a_student_of_all_the_teachers_layers_says_what_the_teacher_says():
    teacher, student = network(n_layers=3).eval(), network("distilbert", n_layers=3, seed=1).eval()
    start_from(student, teacher)
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    torch.testing.assert_close(student(ids).logits, teacher(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n", "expected"), [(2, [0, 2]), (3, [0, 1, 2]), (1, [0])])
def test_a_shorter_student_takes_layers_at_even_distances(n, expected):
    teacher, student = network(n_layers=4), network("distilbert", n_layers=n, seed=1)
    start_from(student, teacher)
    for mine, theirs in enumerate(expected):
        ours, other = (m.stack.blocks[i].ffn.body.up.weight for m, i in ((student, mine), (teacher, theirs)))
        assert torch.equal(ours, other)


def test_a_student_that_cannot_start_from_its_teacher_is_left_as_it_was():
    teacher, student = network(n_layers=4), network("distilbert", d_model=8, d_ff=16)
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(UsageError, match=r"the student cannot start from the teacher: its \S+ is \(50, 8\)"):
        start_from(student, teacher)
    assert all(torch.equal(t, before[name]) for name, t in student.state_dict().items())


@pytest.mark.parametrize(
    ("teacher", "longest", "said"),
    [
        ({"name": "gpt2", "head": "causal_lm"}, 8, "head causal_lm"),
        ({"head": "backbone"}, 8, "head backbone"),
        ({"vocab_size": 40}, 8, "knows 40 tokens and the student 50"),
        ({"max_seq_len": 16}, 24, "reads at most 16"),
    ],
)
def test_teachers_that_cannot_answer_are_refused(teacher, longest, said):
    with pytest.raises(UsageError, match=said):
        check_teacher(network(**teacher).config, network("distilbert").config, longest)


def test_teachers_with_a_pair_head_too_will_do():
    check_teacher(network(head="pretraining").config, network("distilbert").config, 32)


def test_width_is_that_of_hidden_states_not_of_blocks():
    assert hidden_width(network().train()) == 16
    reformer = network("reformer", n_layers=2, n_heads=2, head_dim=8, axial=False, local_chunk=8, hashed_chunk=8)
    assert hidden_width(reformer) == 32


def test_the_same_seed_gives_the_same_examples_whoever_teaches(encoders, made):
    first, second = (encoders(network(seed=seed)) for seed in (0, 1))
    picks = first.picks(0, 8)
    assert torch.equal(made(first, picks).input_ids, made(second, picks).input_ids)
    assert [g.lanes for g in first.preview(picks, [np.random.default_rng(i) for i in range(8)])]
