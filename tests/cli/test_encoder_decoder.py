"""Models of two stacks in the commands: an answer to a prompt, and what each word of it looked at."""

import json

import pytest

SOURCE = "the cat sat on the mat ."


@pytest.fixture(scope="module")
def translator(small_store, tmp_path_factory):
    """A random Transformer with the tokenizer of the small decoder."""
    import shutil

    import torch

    from llmkit.checkpoint.hf_layout import write_model
    from llmkit.models.registry import load_family
    from llmkit.tokenization.tokenizer import Tokenizer

    directory = tmp_path_factory.mktemp("two") / "translator"
    directory.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(small_store / "gpt" / name, directory / name)
    tokenizer = Tokenizer.from_file(directory)
    family = load_family("marian")
    config = family.config_class(
        vocab_size=tokenizer.vocab_size, d_model=32, n_layers=2, n_decoder_layers=3, n_heads=2, max_seq_len=24,
        pad_id=tokenizer.pad_id, eos_id=tokenizer.eos_id, decoder_start_id=tokenizer.pad_id, d_ff=64,
    )  # fmt: skip
    torch.manual_seed(4)
    model = family.build(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    write_model(directory, model)
    return str(directory)


def greedy(directory, source, count):
    """The answer written without cache or batch, one full pass for every token."""
    import torch

    from llmkit.api import load

    loaded = load(directory, device="cpu")
    read = torch.tensor([[*loaded.tokenizer.encode(source), loaded.config.eos_id]])
    written = [loaded.config.decoder_start_id]
    with torch.no_grad():
        for _ in range(count):
            logits = loaded.model(read, decoder_input_ids=torch.tensor([written])).logits[0, -1]
            written.append(int(logits.argmax()))
            if written[-1] in loaded.config.stop_ids:
                break
    return [i for i in written[1:] if i not in loaded.config.stop_ids]


def test_generate_answers_its_prompt(llmkit, translator):
    run = llmkit(
        "generate", "--model", translator, "--prompt", SOURCE, "--temperature", "0", "--max-tokens", "9", "--json"
    )
    assert run.code == 0, run.err
    found = json.loads(run.out)
    assert found["ids"] == greedy(translator, SOURCE, 9)
    assert found["prompt"] == SOURCE


def test_inputs_of_any_length_in_one_batch_give_what_each_gives_alone(llmkit, translator):
    sources = [SOURCE, "a dog", "the red house and the cat saw it ! the mat", "é"]
    lines = "".join(json.dumps({"prompt": s}) + "\n" for s in sources).encode()
    flags = ("--temperature", "0", "--max-tokens", "7")
    run = llmkit("generate", "--model", translator, "--jsonl", "-", *flags, stdin=lines)
    assert run.code == 0, run.err
    assert [json.loads(line)["ids"] for line in run.out.splitlines()] == [greedy(translator, s, 7) for s in sources]


def test_an_empty_prompt_or_one_too_long_to_read_is_refused(llmkit, translator):
    run = llmkit("generate", "--model", translator, "--prompt", "")
    assert (run.code, "the prompt is empty" in run.err) == (2, True)
    run = llmkit("generate", "--model", translator, "--prompt", "the cat sat " * 9)
    assert run.code == 4
    assert "this model can read 24" in run.err


def test_cross_attention_is_from_what_is_written_to_what_is_read(llmkit, translator):
    look = ("inspect", translator, "--text", SOURCE, "--cross", "--target", "a dog")
    found = json.loads(llmkit(*look, "--json").out)
    assert found["tokens"][1:] == ["a", " dog"] or "".join(found["tokens"][1:]) == "a dog"
    assert "".join(found["read"]).startswith(SOURCE)
    assert {head["layer"] for head in found["heads"]} == {0, 1, 2}
    for head in found["heads"]:
        assert len(head["weights"]) == len(found["tokens"])
        assert all(len(row) == len(found["read"]) and abs(sum(row) - 1) < 1e-4 for row in head["weights"])
    rows = [
        line.split("\t") for line in llmkit(*look, "--layer", "2", "--head", "1", "--all").out.decode().splitlines()
    ]
    assert len(rows) == len(found["tokens"]) * len(found["read"])
    weights = next(h["weights"] for h in found["heads"] if (h["layer"], h["head"]) == (2, 1))
    assert abs(float(rows[-1][4]) - weights[-1][-1]) < 1e-5


def test_without_a_target_the_model_answers_first(llmkit, translator):
    run = llmkit("inspect", translator, "--text", SOURCE, "--cross", "--layer", "0", "--head", "0")
    assert run.code == 0
    assert "the model's own answer" in run.err


def test_each_stack_can_be_looked_into_by_itself(llmkit, translator):
    reading = json.loads(llmkit("inspect", translator, "--text", SOURCE, "--json").out)
    assert (reading["read"], reading["causal"], len(reading["heads"])) == (None, False, 4)
    writing = json.loads(llmkit("inspect", translator, "--text", SOURCE, "--target", "a dog", "--json").out)
    assert (writing["read"], writing["causal"], len(writing["heads"])) == (None, True, 6)


def test_screens_of_cross_attention_fit_and_name_both_texts(on_terminal, translator):
    look = ("inspect", translator, "--text", SOURCE, "--cross", "--target", "a dog ran")
    for view in ((), ("--layer", "1", "--head", "0"), ("--all-heads",), ("--query", "dog")):
        screen = on_terminal(*look, *view)
        assert "cross-attention" in screen.shown


def test_cross_attention_of_a_single_stack_is_wrong_use(llmkit):
    run = llmkit("inspect", "gpt", "--text", SOURCE, "--cross")
    assert run.code == 2
    assert "--cross is for encoder-decoders" in run.err


def test_the_exported_copy_computes_the_same(llmkit, translator, tmp_path):
    run = llmkit("store", "export", translator, str(tmp_path / "copy"), "--json")
    assert run.code == 0, run.err
    assert json.loads(run.out)["largest_logit_difference"] == 0
    assert llmkit("store", "diff", translator, str(tmp_path / "copy")).code == 0
