import json

import pytest

from llmkit.errors import InputRefused
from llmkit.generation.model_settings import model_settings


def settings(directory, **content):
    (directory / "generation_config.json").write_text(json.dumps(content))
    return model_settings(directory)


def test_without_a_file_or_without_a_word_on_sampling_nothing_is_set(tmp_path):
    assert model_settings(tmp_path) == {}
    assert settings(tmp_path, bos_token_id=1, eos_token_id=[2, 3], transformers_version="4.50.0", top_k=None) == {}


def test_what_is_set_is_called_by_our_names(tmp_path):
    found = settings(tmp_path, temperature=0.6, min_p=0.1, repetition_penalty=1.1, max_new_tokens=40)
    assert found == {"temperature": 0.6, "min_p": 0.1, "repetition_penalty": 1.1, "max_tokens": 40}


def test_sampling_asked_for_means_the_defaults_that_transformers_leaves_out(tmp_path):
    from transformers import GenerationConfig

    GenerationConfig(do_sample=True, top_p=0.9).save_pretrained(tmp_path)
    assert model_settings(tmp_path) == {"temperature": 1.0, "top_k": 50, "top_p": 0.9}
    assert settings(tmp_path, do_sample=True, top_k=0) == {"temperature": 1.0, "top_k": None, "top_p": 1.0}


def test_sampling_refused_is_greedy_whatever_the_temperature(tmp_path):
    assert settings(tmp_path, do_sample=False, temperature=0.6)["temperature"] == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"temperature": "0.6"}, "temperature is '0.6', not a number"),
        ({"temperature": -1}, "temperature is -1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_k": 2.5}, "top_k is '2.5', not a whole number"),
        ({"top_k": True}, "top_k is 'True', not a whole number"),
        ({"max_new_tokens": 0}, "max_tokens is 0"),
        ({"repetition_penalty": [1.0]}, "repetition_penalty is"),
        ({"do_sample": "yes"}, "do_sample is 'yes', not true or false"),
        ({"do_sample": 0}, "do_sample is '0', not true or false"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_file_and_name(tmp_path, content, told):
    with pytest.raises(InputRefused) as refused:
        settings(tmp_path, **content)
    assert refused.value.message.startswith(f"{tmp_path / 'generation_config.json'}: {told}")
