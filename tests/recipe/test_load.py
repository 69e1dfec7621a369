"""Reading recipes: what is given, what is filled in, and everything that is wrong at once."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.errors import LlmkitError, UsageError
from llmkit.recipe.load import load_recipe, parse_recipe
from llmkit.recipe.problems import RecipeProblems
from llmkit.recipe.shipped import builtin_path


def codes(error):
    return [p.code for p in error.problems]


def test_a_recipe_is_read_and_the_rest_filled_in_with_defaults(tiny):
    recipe = parse_recipe(tiny, "tiny.yaml")
    assert recipe.name == "tiny"
    assert recipe.model.family == "gpt2"
    assert recipe.model.fields["d_model"] == 32
    assert recipe.model.fields["activation"] == "gelu_new"
    assert recipe.tokenizer.algorithm == "bpe"
    assert recipe.data.train == "stories"
    assert recipe.train.steps == 10
    assert recipe.train.clip == 1.0


def test_the_model_section_fits_the_configuration_of_its_family(tiny):
    from llmkit.models.registry import load_family

    recipe = parse_recipe(tiny, "tiny.yaml")
    config = load_family("gpt2").config_class(vocab_size=100, head="causal_lm", eos_id=3, **recipe.model.fields)
    assert (config.d_model, config.d_ff) == (32, 128)


def test_what_the_text_and_the_task_decide_cannot_be_set(problems_of, tiny_with):
    for line in ("vocab_size: 100", "head: causal_lm", "labels: [a]", "pad_id: 0"):
        error = problems_of(tiny_with("n_layers: 2", f"n_layers: 2\n  {line}"))
        assert codes(error) == ["unknown_key"]
    assert "objective" in problems_of(tiny_with("n_layers: 2", "n_layers: 2\n  head: causal_lm")).hint


def test_integers_and_floats_get_their_exact_type(tiny_with):
    recipe = parse_recipe(tiny_with("steps: 10", "steps: 1e4\n  lr: 1\n  weight_decay: 0"), "x.yaml")
    assert (recipe.train.steps, recipe.train.lr, recipe.train.weight_decay) == (10_000, 1.0, 0.0)
    assert type(recipe.train.steps) is int
    assert type(recipe.train.lr) is float


def test_every_problem_is_told_at_once_in_the_order_of_the_file(problems_of):
    error = problems_of(
        """\
        model: {family: gpt2, d_model: 30, n_layers: "2", n_head: 4, max_seq_len: 64}
        objective:
          name: casual
        train:
          learning_rate: 3e-4
          steps: many
        optim:
          lr: 1e-4
        """
    )
    assert codes(error) == ["type", "unknown_key", "value", "unknown_key", "type", "unknown_key"]
    assert [p.spot.line for p in error.problems] == [1, 1, 3, 5, 6, 8]
    for key in ("model.n_layers", "model.n_head", "objective.name", "train.learning_rate", "train.steps", "optim.lr"):
        assert f"`{key}`" in error.message
    assert error.message.count("\nerror: ") == 5


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train.learning_rate", "train.lr"),
        ("optim.lr", "train.lr"),
        ("optimizer.weight_decay", "train.weight_decay"),
        ("train.warmup_step", "train.warmup_steps"),
        ("train.max_iters", "train.steps"),
        ("model.hidden_size", "model.d_model"),
        ("model.n_embd", "model.d_model"),
        ("model.n_layer", "model.n_layers"),
        ("train.d_model", "model.d_model"),
        ("data.trian", "data.train"),
        ("train.grad_clip", "train.clip"),
        ("objective.mlm_probability", "objective.mask_rate"),
        ("model.vocab_size", "tokenizer.vocab_size"),
        ("dataset", "data.train"),
        ("learning_rate", "train.lr"),
    ],
)
def test_a_mistyped_key_is_told_what_it_was_meant_to_be(problems_of, tiny, typed, meant):
    error = problems_of(tiny, f"{typed}=1")
    assert error.problems[0].suggestions[0] == meant
    assert f"`{meant}`" in error.message


def test_a_mistyped_section_is_told_its_name(problems_of, tiny_with):
    error = problems_of(tiny_with("train:", "trian:"))
    assert error.problems[0].suggestions[0] == "train"


def test_an_error_shows_file_line_caret_and_fix(problems_of, tiny_with):
    error = problems_of(tiny_with("steps: 10", "warmup_step: 3"))
    assert error.message == (
        "unknown key `train.warmup_step` in tiny.yaml, line 11\n"
        "   11 |   warmup_step: 3\n"
        "      |   ^^^^^^^^^^^ did you mean `warmup_steps`?"
    )
    assert error.hint == "rename it, or list the keys with: llmkit recipe schema train"
    assert error.exit_code == 2
    assert error.kind == "recipe.unknown_key"
    assert error.details["line"] == 11


@pytest.mark.parametrize(
    ("old", "new", "message", "fix"),
    [
        ("steps: 10", 'steps: "10"', "is text, not a whole number", "remove the quotes: steps: 10"),
        ("steps: 10", "steps: 10_000", "is text, not a whole number", "steps: 10000"),
        ("steps: 10", "steps: 010", "is text, not a whole number", "steps: 10"),
        ("steps: 10", "steps: 10.5", "is 10.5, not a whole number", "whole number"),
        ("steps: 10", "steps: 0", "it must be from 1 to 1e10", "optimizer steps"),
        ("steps: 10", "steps: true", "is true, not a whole number", "whole number"),
        ("steps: 10", "steps:", "is empty", "remove the line to get 1000"),
        ("steps: 10", "steps: [10]", "is a list, not a whole number", "whole number"),
        ("steps: 10", "lr: 1e-4x", "is text, not a number", "a number such as 0.001"),
        ("steps: 10", "lr: .nan", "it must be above 0", "learning rate"),
        ("steps: 10", "lr: .inf", "it must be above 0", "learning rate"),
        ("steps: 10", "lr: 0", "it must be above 0", "learning rate"),
        ("steps: 10", "schedule: cosin", "does not exist", "cosine, linear"),
        ("steps: 10", "device: gpu", "is not allowed", "cuda"),
        ("name: causal", "name: causal\n  next_sentence: no", "is text, not true or false", "next_sentence: false"),
        ("name: tiny", "name: 5", "is a number, not text", 'put it in quotes: "5"'),
        ("name: tiny", "name: ../../etc", "is not allowed", "name of the run"),
        ("d_model: 32", "d_model: 1000000000000", "it must be from 1 to 65536", "width of the residual stream"),
        ("n_layers: 2", "n_layers: 10000000", "it must be from 1 to 1024", "number of blocks"),
        ("n_heads: 4", "n_heads: 0", "it must be from 1 to 1024", "attention heads"),
        ("d_model: 32", "d_model: -1", "it must be from 1 to 65536", "width"),
        ("d_model: 32", 'd_model: "16"', "is text, not a whole number", "d_model: 16"),
        ("d_model: 32", f"d_model: {'9' * 5000}", "is far too large", "65536"),
        ("d_model: 32", "dropout: 0.1", "`model.d_model` is missing", "width of the residual stream"),
        ("family: gpt2", "family: gtp2", '"gtp2", which does not exist', "gpt2"),
        ("family: gpt2", "dropout: 0", "`model.family` is missing", "bert"),
        ("name: causal", "mask_rate: 0.1", "`objective.name` is missing", "causal"),
        ("train:\n", "data:\n  train: []\ntrain:\n", "is an empty list", "at least one"),
        ("train:\n", "data:\n  train: [a.txt, 7]\ntrain:\n", "has an item that is a number", '"7"'),
        ("train:\n", "tokenizer: bpe\ntrain:\n", "`tokenizer` must be a section", "recipe schema tokenizer"),
    ],
)
def test_a_wrong_value_is_one_clear_problem_with_a_way_out(problems_of, tiny_with, old, new, message, fix):
    error = problems_of(tiny_with(old, new))
    assert len(error.problems) == 1, error.message
    assert message in error.message
    assert fix in error.hint
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("overrides", "blamed"),
    [
        (["train.seq_len=65"], "train.seq_len"),
        (["model.max_seq_len=16"], "model.max_seq_len"),
        (["train.warmup_steps=11"], "train.warmup_steps"),
        (["train.warmup_steps=4", "train.steps=3"], "train.warmup_steps"),
        (["model.n_heads=5"], "the model cannot be built"),
        (["model.n_kv_heads=2"], "`model.n_kv_heads` is 2"),
        (["objective.name=masked"], "needs an encoder; gpt2 is not one"),
        (["objective.name=classify"], "needs `base`"),
        (["model.family=bert"], "is causal, for which bert has no head"),
        (["base=runs/a"], "also has a `model` section"),
        (["model.d_model=65536", "model.n_layers=1024"], "T parameters"),
        (["data.train=-", "data.validation=-"], "is stdin, and so is data.train"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(problems_of, tiny, overrides, blamed):
    error = problems_of(tiny, *overrides)
    assert len(error.problems) == 1, error.message
    assert blamed in error.message
    assert error.hint


def test_fine_tuning_takes_a_base_and_no_model():
    recipe = parse_recipe("base: null\nobjective: {name: classify}\n", "x.yaml")
    assert recipe.is_finetune
    assert recipe.base is None
    assert recipe.tokenizer is None
    assert parse_recipe("base: runs/a@5\nobjective: {name: classify}\n", "x.yaml").base == "runs/a@5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objective: {name: classify}\n", "neither `model` nor `base`"),
        ("base: x\nobjective: {name: causal}\n", "starts from random weights"),
        ("base: x\ntokenizer: {algorithm: bpe}\nobjective: {name: classify}\n", "brings its own tokenizer"),
    ],
)
def test_a_start_that_makes_no_sense_is_refused(problems_of, text, message):
    assert message in problems_of(text).message


def test_flags_win_over_the_file_and_the_last_flag_wins(tiny):
    recipe = parse_recipe(tiny, "tiny.yaml", ["train.steps=20", "train.steps=30", "model.family=llama"])
    assert recipe.train.steps == 30
    assert recipe.model.family == "llama"
    assert recipe.model.fields["rope_theta"] == 10000.0
    assert recipe.origins["train.steps"] == "--set train.steps=30"
    assert recipe.origins["train.seq_len"] == "tiny.yaml line 12"
    assert recipe.origins["train.lr"] == "default"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("data.train=my file.txt", "my file.txt"),
        ("data.train=[a.txt, b c.txt]", ["a.txt", "b c.txt"]),
        ("data.train=*.txt", "*.txt"),
        ("data.train=-", "-"),
        ("data.train=2024", "2024"),
        ("data.train=a: b #c", "a: b #c"),
        ('data.train="quoted"', "quoted"),
        ("data.train=[odd", "[odd"),
        ("data.train=&x", "&x"),
        ("data.train=!tag", "!tag"),
        ("data.train=a=b", "a=b"),
        ("data.train=true", "true"),
    ],
)
def test_text_after_set_needs_no_quotes(tiny, flag, value):
    assert parse_recipe(tiny, "tiny.yaml", [flag]).data.train == value


def test_an_endless_value_does_not_flood_the_screen(problems_of, tiny):
    assert len(problems_of(tiny, "train.lr=" + "[" * 100_000).message) < 500


def test_null_after_set_empties_what_may_be_empty(tiny):
    assert parse_recipe(tiny, "x", ["data.validation=a.txt", "data.validation=null"]).data.validation is None


@pytest.mark.parametrize("flag", ["train.steps", "=3", "train=3", "train.steps=x", "train.nope=1", "a.b.c=1", "x=y"])
def test_a_wrong_flag_is_named_as_it_was_typed(problems_of, tiny, flag):
    error = problems_of(tiny, flag)
    assert f"--set {flag}" in error.message
    assert error.problems[0].spot is None


def test_tables_can_be_given_where_a_family_takes_them(tiny):
    flags = ["model.family=llama", "model.rope_scaling={rope_type: linear, factor: 2}"]
    assert parse_recipe(tiny, "x", flags).model.fields["rope_scaling"] == {"rope_type": "linear", "factor": 2}


def test_more_problems_than_a_screen_holds_are_counted(problems_of):
    error = problems_of("".join(f"key{i}: 1\n" for i in range(50)))
    assert error.message.count("error: ") < 25
    assert "more" in error.message
    assert len(error.problems) >= 50


def test_thousands_of_wrong_keys_are_refused_in_less_than_a_second(problems_of):
    started = time.process_time()
    problems_of("".join(f"train_{i}: {{lr: 1}}\n" for i in range(2_400)))
    assert time.process_time() - started < 1


def test_the_name_follows_from_the_file_when_none_is_given(tiny_with):
    assert parse_recipe(tiny_with("name: tiny\n", ""), "some/my run (2).yaml").name == "my-run-2"


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("abc:{}[]&*!%#-?|> \n\t\"'1.e_<,@`\\\x00é\u2028"), max_size=60))
def test_any_text_ends_in_a_recipe_or_in_our_own_error(text):
    with pytest.raises(LlmkitError) as caught:
        parse_recipe(text, "x.yaml")
    assert caught.value.exit_code == 2


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["data.train", "train.lr", "train.steps", "objective.next_sentence", "name"]), st.text(max_size=30)
)
def test_any_flag_ends_in_a_recipe_or_in_our_own_error(key, value):
    from llmkit.recipe.shipped import builtin_path

    with contextlib.suppress(UsageError):
        parse_recipe(Path(builtin_path("bert-mini")).read_text(encoding="utf-8"), "x.yaml", [f"{key}={value}"])


def test_files_that_are_not_recipes_are_refused_with_one_clear_error(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    (tmp_path / "big.yaml").write_bytes(b"# x\n" * 600_000)
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    (tmp_path / "text.yaml").write_text("hello\n")
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + b"base: null\nobjective: {name: classify}\n")
    for name, words in [
        ("empty", "nothing in this recipe"), ("latin", "byte 9 (0xe9) is not UTF-8"), ("big", "more than 256 KiB"),
        ("list", "map of sections"), ("text", "map of sections"),
    ]:  # fmt: skip
        with pytest.raises(RecipeProblems) as caught:
            load_recipe(str(tmp_path / f"{name}.yaml"))
        assert words in caught.value.message
        assert f"{name}.yaml" in caught.value.message
    assert load_recipe(str(tmp_path / "bom.yaml")).is_finetune
    with pytest.raises(UsageError, match="is a directory"):
        load_recipe(str(tmp_path))


def test_a_recipe_can_come_through_a_pipe(tiny):
    read_end, write_end = os.pipe()
    os.write(write_end, tiny.encode())
    os.close(write_end)
    try:
        assert load_recipe(f"/dev/fd/{read_end}").name == "tiny"
    finally:
        os.close(read_end)


def test_absurd_sizes_are_refused_at_once_without_torch_and_without_memory(tmp_path, tiny_with):
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to know its memory")
    path = tmp_path / "huge.yaml"
    path.write_text(tiny_with("d_model: 32", "d_model: 1000000000000"))
    code = (  # VmHWM, because ru_maxrss remembers the size of the process that started this one
        "import sys\n"
        "from llmkit.recipe import load_recipe\n"
        "from llmkit.errors import UsageError\n"
        "try: load_recipe(sys.argv[1])\n"
        "except UsageError as e: print(e.exit_code, 'torch' in sys.modules, 'numpy' in sys.modules,\n"
        "    int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    exit_code, torch, numpy, megabytes = done.stdout.split()
    assert (exit_code, torch, numpy) == ("2", "False", "False")
    assert int(megabytes) < 100


def test_importing_the_package_costs_neither_yaml_nor_typer():
    code = (
        "import sys, llmkit.recipe, llmkit.recipe.find, llmkit.recipe.schema; print({'yaml', 'typer'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.home())
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "line", ["mask_rate: 0.3", "mask_rate: 0.15", "next_sentence: true", "long_share: 0", "dropout: 0.1"]
)
def test_a_key_that_the_objective_does_not_read_is_refused_where_it_stands(problems_of, tiny_with, line):
    key = line.partition(":")[0]
    error = problems_of(tiny_with("  name: causal\n", f"  name: causal\n  {line}\n"))
    [problem] = error.problems
    assert problem.spot.line == 10
    assert f"`objective.{key}` does nothing here: only" in error.message
    assert error.exit_code == 2


def test_a_flag_for_a_key_that_the_objective_does_not_read_is_refused(problems_of, tiny):
    error = problems_of(tiny, "objective.next_sentence=true")
    assert "only masked reads it, and objective.name is causal" in error.message
    assert "--set objective.next_sentence=true" in error.message


def test_what_every_objective_reads_is_taken_and_defaults_are_silent(tiny):
    assert parse_recipe(tiny, "tiny.yaml", ["objective.label_smoothing=0.1"]).objective.label_smoothing == 0.1
    assert parse_recipe(tiny, "tiny.yaml").objective.mask_rate is None


def test_an_empty_list_is_taken_where_it_is_what_a_recipe_says_by_itself(tmp_path):
    from llmkit.recipe import load_recipe
    from llmkit.recipe.load import parse_recipe
    from llmkit.recipe.resolved import to_yaml

    path = tmp_path / "my.yaml"
    path.write_text(
        "name: my\nmodel: {family: funnel, d_model: 16, n_layers: 2, n_heads: 2}\nobjective: {name: replaced_token}\n"
    )
    recipe = load_recipe(str(path))
    assert parse_recipe(to_yaml(recipe), "again") == recipe


def test_files_of_translations_take_the_place_of_the_recipes_own_pairs_and_the_other_way_round(tmp_path):
    given = load_recipe("transformer-mini", ["data.train=a.txt", "data.target=b.txt"]).data
    assert (given.target, given.pair) == ("b.txt", None)
    path = tmp_path / "mine.yaml"
    text = Path(builtin_path("transformer-mini")).read_text().replace("  pair: mirror", "  target: b.txt")
    path.write_text(text)
    given = load_recipe(str(path), ["data.pair=mirror"]).data
    assert (given.target, given.pair) == (None, "mirror")
    assert load_recipe("transformer-mini", ["data.target=null"]).data.pair == "mirror"
