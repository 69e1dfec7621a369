"""One dial sets width, depth, heads, rate, batch and tokens of every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from llmkit.errors import UsageError
from llmkit.models.registry import family_names, load_family
from llmkit.recipe.load import load_recipe
from llmkit.recipe.scaling import SIZES, parse_size, scale
from llmkit.recipe.shaping import RATIO

TARGETS = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


def settings(family: str, **more: Any) -> dict[str, Any]:
    return {
        "model.family": family,
        "model.max_seq_len": 128,
        "tokenizer.vocab_size": 8192,
        "train.steps": 1000,
        "train.batch_size": 16,
        "train.accumulate": 1,
        "train.seq_len": 128,
        "data.train": "stories",
        "data.stories": 20_000,
        **more,
    }


@pytest.mark.parametrize("name", family_names())
def test_every_family_has_the_asked_number_of_parameters_within_ten_percent(name: str) -> None:
    family, before = load_family(name), 0
    for target in TARGETS:
        values = scale(target, settings(name), given=(), fixed=()).values
        fields = {p.removeprefix("model."): v for p, v in values.items() if p.startswith("model.")}
        config = family.config_class(**fields, vocab_size=values.get("tokenizer.vocab_size", 8192))
        with torch.device("meta"):
            built = sum(p.numel() for p in family.build(config).parameters())
        assert built == pytest.approx(target, rel=0.1)
        assert built > before
        assert config.d_model // config.n_heads in (32, 64, 128)
        assert config.n_layers > 1
        before = built


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "mixtral"])
def test_a_larger_model_reads_more_in_larger_steps_at_a_lower_rate(name: str) -> None:
    scaled = [scale(target, settings(name), given=(), fixed=()) for target in TARGETS]
    steps = [s.values["train.batch_size"] * s.values["train.accumulate"] for s in scaled]
    rates = [s.values["train.lr"] for s in scaled]
    assert sorted(steps) == steps
    assert sorted(rates, reverse=True) == rates
    for s in scaled:
        tokens = s.values["train.steps"] * s.values["train.batch_size"] * s.values["train.accumulate"] * 128
        assert tokens / s.counts.active == pytest.approx(20, rel=0.02)


def test_width_over_depth_is_the_published_one_where_the_number_leaves_a_choice() -> None:
    for target in (10_000_000, 100_000_000, 1_000_000_000):
        values = scale(target, settings("gpt2"), given=(), fixed=()).values
        assert RATIO / 2 < values["model.d_model"] / values["model.n_layers"] < 2 * RATIO


def test_the_law_gives_what_deepseek_published() -> None:
    values = scale(1_000_000_000, settings("llama"), given=(), fixed=()).values
    in_step = values["train.batch_size"] * values["train.accumulate"] * 128
    assert in_step == pytest.approx(0.2920 * 1.2e20**0.3271, rel=0.25)
    assert values["train.lr"] == pytest.approx(0.3118 * 1.2e20**-0.125, rel=0.1)


def test_what_a_flag_sets_stays_and_the_rest_is_chosen_around_it() -> None:
    recipe = load_recipe("gpt-mini", ["model.n_layers=12", "train.batch_size=8", "train.lr=0.5"], size="30M")
    assert recipe.model is not None
    assert recipe.model.fields["n_layers"] == 12
    assert recipe.train.lr == 0.5
    assert recipe.train.batch_size == 8
    assert recipe.train.accumulate > 16
    assert recipe.origins["model.n_layers"] == "--set model.n_layers=12"
    assert recipe.origins["model.d_model"] == "--size 30M"
    free = load_recipe("gpt-mini", [], size="30M")
    assert free.model is not None
    assert recipe.model.fields["d_model"] < free.model.fields["d_model"]


def test_a_fixed_batch_moves_the_rate_by_its_square_root() -> None:
    usual = load_recipe("gpt-mini", [], size="30M").train
    fixed = [f"train.accumulate={usual.accumulate}", f"train.batch_size={usual.batch_size // 4}"]
    quarter = load_recipe("gpt-mini", fixed, size="30M").train
    assert quarter.lr == pytest.approx(usual.lr / 2, rel=0.05)
    assert quarter.steps == pytest.approx(4 * usual.steps, rel=0.01)


def test_fixed_steps_find_their_own_batch() -> None:
    few = load_recipe("gpt-mini", ["train.steps=100"], size="30M").train
    many = load_recipe("gpt-mini", ["train.steps=100000"], size="30M").train
    assert few.batch_size * few.accumulate < many.batch_size * many.accumulate
    assert few.lr > many.lr


def test_the_proportions_of_the_recipe_are_kept() -> None:
    model = load_recipe("llama-mini", [], size="110M").model
    assert model is not None
    assert model.fields["n_kv_heads"] * 2 == model.fields["n_heads"]
    assert model.fields["d_ff"] == pytest.approx(2.75 * model.fields["d_model"], rel=0.05)


def test_sizes_need_no_sizes_in_the_file(tmp_path: Any) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: {family: bert, max_seq_len: 64}\nobjective: {name: masked}\n", encoding="utf-8")
    assert load_recipe(str(path), [], size="1M").train.seq_len == 64
    with pytest.raises(UsageError, match="d_model"):
        load_recipe(str(path), [])


def test_a_resolved_recipe_reads_back_as_itself() -> None:
    from llmkit.recipe.load import parse_recipe
    from llmkit.recipe.resolved import to_yaml

    recipe = load_recipe("bert-mini", [], size="3M")
    assert parse_recipe(to_yaml(recipe), "again").train == recipe.train


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("mini", SIZES["mini"]),
        ("30M", 30_000_000),
        ("1.5b", 1_500_000_000),
        ("125_000_000", 125_000_000),
        ("70k", 70000),
    ],
)
def test_sizes_are_words_or_numbers(text: str, parameters: int) -> None:
    assert parse_size(text) == parameters


@pytest.mark.parametrize("text", ["smal", "", "3", "-5M", "1e9", "9999T", "nan", "9" * 99])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


def test_a_checkpoint_has_its_size() -> None:
    with pytest.raises(UsageError, match="the checkpoint has its size"):
        load_recipe("sst2", [], size="small")


def test_a_size_that_a_family_cannot_have_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="the nearest has"):
        scale(100_000, settings("mixtral"), given=(), fixed=())
