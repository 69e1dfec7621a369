"""Whole generations against transformers' `generate`, on models whose weights are spread enough to tell."""

import pytest
import torch

from llmkit.generation.decode import Decoder
from llmkit.generation.settings import Sampling
from llmkit.models.registry import load_family
from llmkit.weights.convert import export

SIZES = {"vocab_size": 97, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, "head": "causal_lm"}


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def pair(request):
    """The same model as ours and as theirs."""
    import transformers

    family = load_family(request.param)
    extra = {"n_kv_heads": 2} if request.param == "llama" else {}
    config = family.config_class(**SIZES, **extra)
    torch.manual_seed(0)
    ours = family.build(config).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(0, 0.3)
    stored = family.config_to_hf(config)
    theirs = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**stored)).eval()
    missing, unexpected = theirs.load_state_dict(export(ours, family.weight_rules(config)), strict=False)
    assert not unexpected
    assert all("lm_head" in name for name in missing)
    return ours, theirs


def ours_of(model, prompts, settings, steps):
    decoder = Decoder(model, prompts, settings)
    ids = [[] for _ in prompts]
    while decoder.rows:
        for drawn in decoder.step():
            ids[drawn.row].append(drawn.id)
        decoder.drop({row for row in decoder.rows if len(ids[row]) == steps})
    return ids


@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_greedy_text_equals_theirs_for_prompts_of_any_length_in_one_batch(pair, penalty):
    ours, theirs = pair
    prompts = [[5], [1, 2, 3, 4, 5, 6, 7], [11, 12, 13]]
    found = ours_of(ours, prompts, Sampling(temperature=0, repetition_penalty=penalty), 20)
    for prompt, ids in zip(prompts, found, strict=True):
        expected = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=20,
            do_sample=False,
            repetition_penalty=penalty,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert ids == expected[0, len(prompt) :].tolist()


def test_batch_and_sample_count_do_not_change_a_text_of_a_real_model(pair):
    ours, _ = pair
    settings = Sampling(temperature=1.0, top_p=0.9, seed=3)
    many = ours_of(ours, [[1, 2, 3]] * 4, settings, 30)
    assert ours_of(ours, [[1, 2, 3]], settings, 30)[0] == many[0]
    assert len({tuple(ids) for ids in many}) == 4
    mixed = ours_of(ours, [[1, 2, 3], [9] * 12], settings, 30)
    assert mixed[0] == many[0]


def test_sliding_past_the_context_works_on_a_real_cache(pair):
    ours, _ = pair
    (ids,) = ours_of(ours, [[1, 2, 3]], Sampling(temperature=0.9), 150)
    assert len(ids) == 150
