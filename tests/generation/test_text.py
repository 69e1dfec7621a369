import pytest

from llmkit.errors import InputRefused, UsageError
from llmkit.generation.settings import Sampling
from llmkit.generation.text import complete, generate_text, prompt_ids, stream

EOS = 261  # of the byte tokenizer
HOT = Sampling(max_tokens=30, temperature=1.5, top_p=None)


@pytest.fixture
def model(toy, byte_tokenizer):
    return toy(vocab_size=byte_tokenizer.vocab_size, context=64, stop_ids=[EOS])


def whole(model, tokenizer, prompt, **options):
    return "".join(generate_text(model, tokenizer, prompt, **options))


def test_streamed_text_is_the_decoded_tokens(model, byte_tokenizer):
    pieces = list(stream(model, byte_tokenizer, "the", HOT))
    done = pieces[-1][1]
    assert "".join(piece for piece, _ in pieces) == done.text == byte_tokenizer.decode(done.ids, skip_special=True)
    assert len(done.ids) == 30
    assert done.finish == "length"
    assert done.n_prompt_tokens == 2


def test_same_seed_same_text_other_seed_other_text(model, byte_tokenizer):
    texts = [whole(model, byte_tokenizer, "the", temperature=1.5, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_text_is_the_same_alone_and_among_many_prompts_and_samples(model, byte_tokenizer):
    prompts = ["the", "a longer prompt than the others", "", "the", "é"]
    many = list(complete(model, byte_tokenizer, prompts, HOT, n=3, batch_size=4))
    assert [(c.prompt, c.sample) for c in many] == [(p, s) for p in range(5) for s in range(3)]
    for prompt, first in zip(prompts, many[::3], strict=True):
        (alone,) = complete(model, byte_tokenizer, [prompt], HOT)
        assert (alone.text, alone.ids, alone.finish) == (first.text, first.ids, first.finish)
    assert len({c.text for c in many[:3]}) == 3


def test_text_ends_at_the_end_token_which_is_not_part_of_it(model, byte_tokenizer):
    (done,) = complete(model, byte_tokenizer, ["the"], Sampling(max_tokens=5000, temperature=2.0, top_p=None))
    assert done.finish == "eos"
    assert EOS not in done.ids
    assert "endoftext" not in done.text


def test_text_ends_before_a_stop_string_and_counts_the_tokens_drawn(model, byte_tokenizer):
    full = next(complete(model, byte_tokenizer, ["the"], HOT)).text
    stop = full[10:13]
    (cut,) = complete(model, byte_tokenizer, ["the"], HOT, stop=["never in there", stop])
    assert cut.finish == "stop"
    assert cut.text == full[: full.index(stop)]
    assert byte_tokenizer.decode(cut.ids).startswith(cut.text)
    assert whole(model, byte_tokenizer, "the", temperature=1.5, top_p=None, max_tokens=30, stop=stop) == cut.text


def test_a_stop_string_that_only_began_is_part_of_the_text(model, byte_tokenizer):
    (full,) = complete(model, byte_tokenizer, ["the"], HOT)
    (again,) = complete(model, byte_tokenizer, ["the"], HOT, stop=[full.text[-2:] + "never"])
    assert (again.text, again.finish) == (full.text, "length")


def test_an_empty_prompt_starts_from_the_begin_token(model, byte_tokenizer):
    assert prompt_ids(model, byte_tokenizer, "") == [EOS]
    assert whole(model, byte_tokenizer, "", max_tokens=3) != ""


def test_an_empty_prompt_without_a_begin_token_is_refused(toy, byte_tokenizer, monkeypatch):
    monkeypatch.setattr(byte_tokenizer, "roles", {})
    with pytest.raises(UsageError, match="empty"):
        prompt_ids(toy(vocab_size=300), byte_tokenizer, "")


def test_a_tokenizer_whose_template_begins_texts_with_a_token_gets_it(model, byte_tokenizer):
    from tokenizers.processors import TemplateProcessing

    from llmkit.tokenization.tokenizer import Tokenizer

    other = Tokenizer.__new__(Tokenizer)
    other.__init__(type(byte_tokenizer.backend).from_str(byte_tokenizer.backend.to_str()), byte_tokenizer.roles)
    plain = prompt_ids(model, other, "the")
    other.backend.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", EOS)]
    )
    assert prompt_ids(model, other, "the") == [EOS, *plain]
    assert prompt_ids(model, other, "<|endoftext|>the") == [EOS, *plain]


def test_a_tokenizer_that_does_not_belong_to_the_model_is_refused(toy, byte_tokenizer):
    with pytest.raises(InputRefused, match="outside the model's vocabulary of 20"):
        prompt_ids(toy(vocab_size=20), byte_tokenizer, "the")


def test_a_model_in_training_keeps_its_mode_but_writes_without_dropout(model, byte_tokenizer):
    model.train()
    first = whole(model, byte_tokenizer, "the", temperature=0)
    assert model.training
    assert first == whole(model.eval(), byte_tokenizer, "the", temperature=0)


def test_closing_a_stream_early_puts_the_model_back_into_training_mode(model, byte_tokenizer):
    model.train()
    pieces = generate_text(model, byte_tokenizer, "the", max_tokens=50)
    next(pieces)
    pieces.close()
    assert model.training
