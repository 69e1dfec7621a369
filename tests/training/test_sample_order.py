"""What reaches the model: every example once an epoch, whoever reads it and wherever a run was broken off."""

import numpy as np
import pytest
import torch

from llmkit.data.corpus import TokenCorpus
from llmkit.data.weights import open_weighted
from llmkit.recipe.load import parse_recipe
from llmkit.tokenization.train import train as train_tokenizer
from llmkit.training.feed import Feed
from llmkit.training.objectives.given import Given, Vocabulary, make_objective
from llmkit.training.parallel.place import Place
from llmkit.training.parallel.world import World
from llmkit.training.session import model_config


@pytest.fixture(scope="module", params=["causal", "masked"])
def made(request, tmp_path_factory):
    place = tmp_path_factory.mktemp("order")
    (place / "a.jsonl").write_text("".join(f'{{"text": "alpha {i} beta. Gamma {i * 7} delta."}}\n' for i in range(40)))
    source, _ = open_weighted([place / "a.jsonl", "stories"], [1.5, 1], fraction=0, stories=12)
    family = {"causal": "gpt2", "masked": "bert"}[request.param]
    recipe = parse_recipe(
        f"model: {{family: {family}, d_model: 16, n_layers: 1, n_heads: 2, max_seq_len: 16}}\n"
        f"objective: {{name: {request.param}}}\ntokenizer: {{vocab_size: 300}}\n"
        "train: {seq_len: 16, batch_size: 6, accumulate: 2, steps: 110, seed: 3}",
        "order",
    )
    tokenizer = train_tokenizer(source.documents(), vocab_size=300, extra_special=("[CLS]", "[SEP]", "[MASK]"))
    corpus = TokenCorpus.build(
        source, tokenizer.encode_batch, cache=place / "cache", tokenizer_digest="t", vocab_size=tokenizer.vocab_size,
        sentences=request.param == "masked",
    )  # fmt: skip

    def objective():
        return make_objective(
            Given(
                objective=recipe.objective,
                train=recipe.train,
                config=model_config(recipe, tokenizer),
                words=Vocabulary.of(tokenizer),
                text=corpus,
            )
        )

    return objective, recipe.train, tokenizer.pad_id


def samples(feed, steps):
    """(epoch, index) of every example of some steps, by micro-batch."""
    return [[*zip(p.epoch.tolist(), p.index.tolist(), strict=True)] for step in steps for p in feed.picks(step)]


def rows(batches, pad):
    """The examples of batches as they reach the model, without padding at their right."""
    return [tuple(np.trim_zeros(np.array(row) - pad, "b")) for batch in batches for row in batch.input_ids.tolist()]


def test_every_epoch_is_the_whole_corpus_once(made):
    objective, settings = made[0](), made[1]
    feed = Feed(objective, settings)
    found = [sample for batch in samples(feed, range(settings.steps)) for sample in batch]
    n = objective.n_examples
    assert len(found) > 3 * n
    for epoch in range(3):
        assert sorted(index for e, index in found if e == epoch) == list(range(n))
    orders = [tuple(index for e, index in found if e == epoch) for epoch in range(3)]
    assert len(set(orders)) == 3


@pytest.mark.parametrize("size", [2, 3, 5])
def test_any_number_of_processes_see_together_what_one_sees(made, size):
    whole = Feed(made[0](), made[1])
    ranks = [Feed(made[0](), made[1], World(Place(rank=rank, size=size))) for rank in range(size)]
    steps = (0, 1, made[1].steps - 1)
    for step in steps:
        for batch, *parts in zip(samples(whole, [step]), *(samples(rank, [step]) for rank in ranks), strict=True):
            assert [sample for part in parts for sample in part] == batch
        one = rows(whole.make(step), made[2])
        per_batch = list(zip(*(rank.make(step) for rank in ranks), strict=True))
        assert [row for parts in per_batch for row in rows(parts, made[2])] == one


def test_a_run_taken_up_in_its_second_epoch_sees_what_it_would_have_seen(made):
    objective, settings = made[0](), made[1]
    n_steps = objective.n_examples // (settings.batch_size * settings.accumulate) + 2
    unbroken = Feed(objective, settings)
    for step in range(n_steps):
        expected = unbroken.take(step)
    later = Feed(made[0](), settings).take(n_steps - 1)
    assert any(epoch == 1 for batch in samples(unbroken, [n_steps - 1]) for epoch, _ in batch)
    for one, other in zip(expected, later, strict=True):
        assert torch.equal(one.input_ids, other.input_ids)
    unbroken.close()
