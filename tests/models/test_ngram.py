"""ProphetNet's streams: what they may see, and that transformers, writing token by token, agrees with our full pass."""

import pytest
import torch

from llmkit.errors import InputRefused, UsageError
from llmkit.models.registry import load_family

SMALL = {"vocab_size": 31, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 20}


@pytest.fixture
def model():
    family = load_family("prophetnet")
    torch.manual_seed(0)
    model = family.build(family.config_class(**SMALL, ngram=3)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@torch.no_grad()
def test_transformers_writing_token_by_token_agrees_with_our_full_pass():
    from transformers import ProphetNetConfig, ProphetNetForConditionalGeneration

    from llmkit.weights.convert import load_into

    sizes = {"vocab_size": 31, "hidden_size": 24, "num_encoder_layers": 2, "num_decoder_layers": 2}
    sizes |= {"num_encoder_attention_heads": 3, "num_decoder_attention_heads": 2, "encoder_ffn_dim": 37}
    sizes |= {"decoder_ffn_dim": 29, "max_position_embeddings": 40, "num_buckets": 6, "relative_max_distance": 7}
    torch.manual_seed(0)
    theirs = ProphetNetForConditionalGeneration(ProphetNetConfig(**sizes)).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    family = load_family("prophetnet")
    ours = family.build(family.config_from_hf(theirs.config.to_dict())).eval()
    load_into(ours, family.weight_rules(ours.config), theirs.state_dict())
    read, written = torch.randint(1, 31, (2, 11)), torch.randint(1, 31, (2, 9))
    logits, kept = [], None
    for token in written.split(1, 1):
        output = theirs(read, decoder_input_ids=token, past_key_values=kept, use_cache=True)
        kept = output.past_key_values
        logits.append(output.logits)
    assert torch.allclose(ours(read, decoder_input_ids=written).logits, torch.cat(logits, 1), atol=1e-5)


@torch.no_grad()
def test_each_stream_sees_one_token_less_than_the_one_before(model):
    read, written = torch.randint(1, 31, (1, 6)), torch.randint(1, 31, (1, 9))
    before = model.streams(read, decoder_input_ids=written)
    assert before.shape == (1, 3, 9, 16)
    written[0, 4] = (written[0, 4] + 1) % 31
    changed = (model.streams(read, decoder_input_ids=written) - before).abs().amax(-1)[0] > 1e-6
    for stream in range(3):
        assert changed[stream].tolist() == [place >= 4 + stream for place in range(9)]


@torch.no_grad()
def test_an_output_padded_on_the_left_written_piece_by_piece_equals_the_full_pass(model):
    read, written = torch.randint(1, 31, (2, 6)), torch.randint(1, 31, (2, 9))
    mask = torch.ones_like(written)
    mask[1, :3] = 0
    full = model(read, decoder_input_ids=written, decoder_attention_mask=mask).hidden
    memory, cache = model.remember(read), model.new_cache(2, 9)
    pieces = [model.decode(written[:, a:b], memory, mask[:, :b], cache=cache) for a, b in ((0, 4), (4, 5), (5, 9))]
    assert torch.allclose(torch.cat(pieces, 1)[mask.bool()], full[mask.bool()], atol=1e-5)


def test_an_output_too_long_is_refused_but_inputs_may_be_of_any_length(model):
    with pytest.raises(UsageError, match="21 tokens long; this model has positions for 20"):
        model(torch.ones(1, 4, dtype=torch.long), decoder_input_ids=torch.ones(1, 21, dtype=torch.long))
    assert model(torch.ones(1, 99, dtype=torch.long), decoder_input_ids=torch.ones(1, 20, dtype=torch.long))


@pytest.mark.parametrize("pad", [None, -1, 99])
def test_a_model_without_a_padding_token_is_refused(pad):
    raw = {"vocab_size": 31, "hidden_size": 24, "pad_token_id": pad}
    with pytest.raises(InputRefused, match="ProphetNet counts positions from it"):
        load_family("prophetnet").config_from_hf(raw)
