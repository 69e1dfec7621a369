import json
import re
import shutil

import pytest

from llmkit.errors import UsageError

SHORT = ("--max-tokens", "12")


def records(out):
    return [json.loads(line) for line in out.decode().splitlines()]


def test_a_pipe_gets_exactly_the_text_and_one_final_newline(llmkit):
    run = llmkit("generate", "--prompt", "the cat", *SHORT)
    (record,) = records(llmkit("generate", "--prompt", "the cat", *SHORT, "--json").out)
    assert run.code == 0
    assert run.out.decode() == record["text"] + ("" if record["text"].endswith("\n") else "\n")
    assert "\x1b" not in run.out.decode()


def test_the_model_chosen_is_said_on_stderr_and_quiet_hides_it(llmkit):
    assert "model: gpt" in llmkit("generate", "--prompt", "the", *SHORT).err
    assert llmkit("generate", "--prompt", "the", *SHORT, "-q").err == ""


def test_echo_puts_the_prompt_before_the_text(llmkit):
    plain = llmkit("generate", "--prompt", "the cat", *SHORT).out
    assert llmkit("generate", "--prompt", "the cat", "--echo", *SHORT).out == b"the cat" + plain


@pytest.mark.parametrize("args", [(), ("--prompt", "-")], ids=["none", "dash"])
def test_a_prompt_comes_from_stdin_without_its_last_newline(llmkit, args):
    assert llmkit("generate", *args, *SHORT, stdin=b"the cat\n").out == llmkit("generate", "-p", "the cat", *SHORT).out


def test_stdin_is_left_alone_when_a_prompt_is_given(llmkit):
    assert llmkit("generate", "-p", "the", *SHORT, stdin=b"\xff").code == 0


def test_nothing_piped_in_starts_from_the_begin_token(llmkit):
    run = llmkit("generate", *SHORT, stdin=b"")
    assert run.code == 0
    assert run.out == llmkit("generate", "-p", "", *SHORT).out


def test_json_holds_what_the_contract_names(llmkit):
    (record,) = records(llmkit("generate", "-p", "the cat", "--seed", "7", *SHORT, "--json").out)
    assert record["schema"] == "llmkit/generate/1"
    assert (record["prompt"], record["seed"], record["finish"]) == ("the cat", 7, "length")
    assert len(record["ids"]) == 12
    assert record["seconds"] > 0
    assert record["tok_per_s"] == pytest.approx(12 / record["seconds"], rel=0.01)


def test_the_seed_decides_the_text(llmkit):
    texts = [llmkit("generate", "-p", "the", "--seed", seed, *SHORT).out for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]


def test_several_texts_differ_and_the_first_is_the_single_one(llmkit):
    several = records(llmkit("generate", "-p", "the", "-n", "3", *SHORT, "--json").out)
    (single,) = records(llmkit("generate", "-p", "the", *SHORT, "--json").out)
    assert [record["sample"] for record in several] == [0, 1, 2]
    assert several[0]["ids"] == single["ids"]
    assert len({tuple(record["ids"]) for record in several}) == 3
    plain = llmkit("generate", "-p", "the", "-n", "3", *SHORT).out.decode()
    assert plain == "".join(r["text"] + ("" if r["text"].endswith("\n") else "\n") for r in several)


def test_many_prompts_keep_their_order_and_their_ids_and_give_what_each_gives_alone(llmkit):
    prompts = ["a dog", "the red house and the cat saw it", "", "the", "a dog"]
    lines = "\n".join(json.dumps({"prompt": p, "id": i}) for i, p in enumerate(prompts)).encode()
    many = records(llmkit("generate", "--jsonl", "-", *SHORT, stdin=lines).out)
    assert [(r["prompt"], r["id"]) for r in many] == list(zip(prompts, range(5), strict=True))
    for record in many[:3]:
        (alone,) = records(llmkit("generate", "-p", record["prompt"], *SHORT, "--json").out)
        assert alone["ids"] == record["ids"]
    assert many[0]["ids"] == many[4]["ids"]


def test_json_lines_come_from_a_file_and_a_field_and_may_be_plain_strings(llmkit, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"question": "the cat"}\n\n"a dog"\n')
    run = llmkit("generate", "--jsonl", str(file), "--field", "question", *SHORT)
    assert [record["prompt"] for record in records(run.out)] == ["the cat", "a dog"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt": "the"}\n{"prmpt": "a"}', "stdin:2: no text in the field 'prompt'"),
        (b"{oops", "stdin:1: not JSON"),
        (b"[1]", "stdin:1: neither an object nor a string"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'"\xff"', "line 1, byte 1 is not valid UTF-8"),
        (b"[" * 100_000, "stdin:1: JSON nested too deeply"),
        (b'{"prompt": ' + b"9" * 5000 + b"}", "stdin:1: JSON with a number of too many digits"),
        (b'{"prompt": "a", "id": "\\ud800"}', "stdin:1: half of a surrogate pair"),
        (b'{"prompt": "a", "id": NaN}', "stdin:1: NaN or an infinity in the id"),
        (b'{"prompt": "a", "id": [{"n": -1e999}]}', "stdin:1: NaN or an infinity in the id"),
        (b'{"prompt": 5}', "the line holds: prompt"),
    ],
)
def test_a_bad_json_line_is_refused_with_its_number(llmkit, line, message):
    run = llmkit("generate", "--jsonl", "-", *SHORT, stdin=line)
    assert run.code == 4
    assert message in run.err
    assert "Traceback" not in run.err


def test_a_stop_string_ends_the_text_and_is_not_in_it(llmkit):
    full = llmkit("generate", "-p", "the", *SHORT).out.decode().rstrip("\n")
    run = llmkit("generate", "-p", "the", "--stop", full[5:7], *SHORT, "--json")
    (record,) = records(run.out)
    assert record["finish"] == "stop"
    assert record["text"] == full[: full.index(full[5:7])]


def test_a_failure_before_the_first_token_leaves_stdout_empty(llmkit, small_store, tmp_path):
    for file in (small_store / "gpt").iterdir():
        if not file.name.startswith("tokenizer"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    run = llmkit("generate", "-m", str(tmp_path), "-p", "the")
    assert (run.code, run.out) == (4, b"")
    assert "holds no tokenizer" in run.err


def test_more_texts_than_memory_holds_are_refused(llmkit):
    assert llmkit("generate", "-p", "the", "-n", str(10**11)).code == 2


def test_logprobs_are_one_line_per_token(llmkit):
    lines = llmkit("generate", "-p", "the", "--logprobs", "--temperature", "0", *SHORT).out.decode().splitlines()
    (record,) = records(llmkit("generate", "-p", "the", "--logprobs", "--temperature", "0", *SHORT, "--json").out)
    fields = [line.split("\t") for line in lines]
    assert [int(id) for _, id, _ in fields] == record["ids"]
    assert [json.loads(token) for _, _, token in fields] == record["tokens"]
    assert [float(value) for value, _, _ in fields] == record["logprobs"]
    assert all(value <= 0 for value in record["logprobs"])


def test_a_prompt_longer_than_the_context_is_cut_and_a_text_longer_than_it_slides_both_said_once(llmkit):
    run = llmkit("generate", "-p", "the cat sat on the mat " * 30, "--max-tokens", "120", "--json")
    (record,) = records(run.out)
    assert run.code == 0
    assert record["finish"] in ("eos", "length")
    assert run.err.count("only its end is read") == 1
    assert record["finish"] == "eos" or run.err.count("outgrew the context") == 1


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--top-p", "1.5"), 2, "top_p is 1.5"),
        (("--temperature", "-1"), 2, "temperature is -1"),
        (("--max-tokens", "0"), 2, "max_tokens is 0"),
        (("--stop", ""), 2, "--stop is empty"),
        (("--jsonl", "x.jsonl"), 2, "exclude each other"),
        (("-n", "2", "--logprobs"), 2, "--json"),
        (("--model", "gtp"), 2, "did you mean 'gpt'"),
        (("--model", "./nowhere"), 74, "nowhere"),
        (("--device", "abacus"), 2, "abacus"),
        (("--dtype", "int3"), 2, "int3"),
    ],
)
def test_what_is_wrong_is_one_clear_line_with_its_code(llmkit, args, code, message):
    run = llmkit("generate", "-p", "the", *args)
    assert run.code == code
    assert message in run.err
    assert run.out == b""
    assert "Traceback" not in run.err


def test_an_encoder_cannot_generate_and_says_what_it_can_do(llmkit):
    run = llmkit("generate", "-p", "the", "--model", "bert")
    assert run.code == 2
    assert "cannot generate text, but it can fill masks" in run.err
    assert "llmkit predict fill-mask --model bert" in run.err
    assert "one that can: --model gpt;" in run.err


def test_a_model_that_cannot_names_the_recipe_when_the_store_has_none_that_can(llmkit, small_store, tmp_path):
    run = llmkit("generate", "-p", "the", "--model", str(small_store / "bert"), "--store", str(tmp_path))
    assert run.code == 2
    assert "one that can: llmkit pretrain gpt-mini;" in run.err


def test_an_empty_store_names_the_recipe_to_run(llmkit, tmp_path):
    run = llmkit("generate", "-p", "the", "--store", str(tmp_path))
    assert run.code == 2
    assert "llmkit pretrain gpt-mini" in run.err.splitlines()[0]


def test_errors_in_json_mode_are_json(llmkit):
    run = llmkit("generate", "-p", "the", "--model", "gtp", "--json")
    assert json.loads(run.err)["error"]["exit"] == 2


def test_a_terminal_without_a_prompt_gets_short_help_and_never_hangs(on_terminal):
    run = on_terminal("generate")
    assert run.code == 2
    assert "usage: llmkit generate --prompt" in run.err


def test_a_terminal_shows_the_prompt_dim_and_the_same_text_as_a_pipe(on_terminal, llmkit):
    shown = on_terminal("generate", "-p", "the cat", *SHORT).shown
    plain = llmkit("generate", "-p", "the cat", *SHORT).out.decode()
    assert shown.startswith("\x1b[2mthe cat\x1b[0m")
    from llmkit.render.safe_text import safe_text

    assert shown.removeprefix("\x1b[2mthe cat\x1b[0m") == safe_text(plain)


def test_escape_sequences_in_a_prompt_never_reach_a_terminal(on_terminal):
    shown = on_terminal("generate", "-p", "a\x1b]52;c;aGk=\x07\x1b[2J\u202eb", *SHORT).shown
    assert "␛]52;c;aGk=␇␛[2J\\u202eb" in shown
    assert re.findall(r"\x1b[^m]*m", shown) == ["\x1b[2m", "\x1b[0m"]
    assert shown.count("\x1b") == 2


def test_json_on_a_terminal_stays_json_and_harmless(on_terminal):
    prompt = "é a\x9b2J\x7f\u202eb"
    shown = on_terminal("generate", "-p", prompt, *SHORT, "--json").shown
    text = shown if isinstance(shown, str) else shown.decode()
    assert json.loads(text)["prompt"] == prompt
    assert not set(text) & {"\x9b", "\x7f", "\u202e"}


def test_no_color_means_no_escape_sequences(on_terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in on_terminal("generate", "-p", "the", "-n", "2", *SHORT).shown


def test_torch_is_not_needed_to_refuse_a_wrong_flag():
    from llmkit.generation.settings import Sampling

    with pytest.raises(UsageError):
        Sampling(top_k=0)


@pytest.fixture
def foreign(small_store, tmp_path):
    """A copy of gpt whose generation_config.json also says what it is called with."""

    def make(**settings):
        shutil.copytree(small_store / "gpt", tmp_path / "foreign", dirs_exist_ok=True)
        own = json.loads((small_store / "gpt" / "generation_config.json").read_text())
        (tmp_path / "foreign" / "generation_config.json").write_text(json.dumps({**own, **settings}))
        return str(tmp_path / "foreign")

    return make


def test_a_model_says_how_it_is_sampled_unless_a_flag_does(llmkit, foreign):
    def text(*flags):
        run = llmkit("generate", "-p", "the cat", *flags)
        assert run.code == 0, run.err
        return run.out, run.err

    model = foreign(do_sample=True, temperature=1.5, top_k=7, max_new_tokens=5)
    said = "as the model's generation_config.json says: temperature 1.5, top_k 7, top_p 1.0, max_tokens 5"
    flags = ("--temperature", "1.5", "--top-k", "7", "--top-p", "1", "--max-tokens", "5")
    out, err = text("--model", model)
    assert out == text("--model", "gpt", *flags)[0]
    assert said in err
    out, err = text("--model", model, "--temperature", "0", "--max-tokens", "3")
    assert out == text("--model", "gpt", "--temperature", "0", "--max-tokens", "3")[0]
    assert "says: top_k 7, top_p 1.0\n" in err
    greedy = text("--model", foreign(do_sample=False), "--max-tokens", "5")[0]
    assert greedy == text("--model", "gpt", "--temperature", "0", "--max-tokens", "5")[0]
    assert "generation_config" not in text("--model", "gpt", "--max-tokens", "5")[1]


def test_a_sampling_setting_that_cannot_be_meant_is_one_clear_line(llmkit, foreign):
    run = llmkit("generate", "-p", "the cat", "--model", foreign(temperature="hot"))
    assert (run.code, run.out) == (4, b"")
    assert "generation_config.json: temperature is 'hot', not a number" in run.err
    assert "Traceback" not in run.err
