import math

import pytest
import torch
import torch.nn.functional as F

from llmkit.errors import InputRefused
from llmkit.models.registry import load_family
from llmkit.prediction.score_text import score_hidden_tokens, score_next_tokens, unknown_characters

CONTEXT = 16


@pytest.fixture(scope="module")
def gpt(bert):
    """A small decoder over the words of the BERT fixture, with [SEP] as its begin and end."""
    from llmkit.tokenization.tokenizer import Tokenizer

    tokenizer = Tokenizer(type(bert.tokenizer.backend).from_str(bert.tokenizer.backend.to_str()), {"eos": "[SEP]"})
    family = load_family("gpt2")
    size = tokenizer.vocab_size
    config = family.config_class(
        vocab_size=size, d_model=32, n_layers=2, n_heads=2, max_seq_len=CONTEXT, head="causal_lm"
    )
    torch.manual_seed(0)
    model = family.build(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model, tokenizer


@torch.no_grad()
def by_hand(model, tokenizer, text, stride):
    """The definition, one token at a time: context of the last window that begins at a multiple of the stride."""
    ids = [tokenizer.eos_id, *tokenizer.encode(text)]
    nats, scored = 0.0, 1
    while scored < len(ids):
        end = min(len(ids), max(CONTEXT + 1, scored + stride))
        for target in range(scored, end):
            window = ids[max(0, end - 1 - CONTEXT) : target]
            nats -= float(model(torch.tensor([window])).logits[0, -1].log_softmax(-1)[ids[target]])
        scored = end
    return nats, len(ids) - 1


@pytest.mark.parametrize("words", [1, 5, 16, 17, 40, 61])
@pytest.mark.parametrize("stride", [1, 8, 16])
def test_every_token_is_scored_once_with_the_context_the_stride_promises(gpt, words, stride):
    model, tokenizer = gpt
    text = " ".join((["the", "cat", "sat", "on", "a", "red", "mat"] * 10)[:words])
    score = score_next_tokens(model, tokenizer, [(text, True)], stride=stride)
    nats, count = by_hand(model, tokenizer, text, stride)
    assert score.n_scored == score.n_tokens == count
    assert score.nats == pytest.approx(nats, rel=1e-5)


def test_documents_do_not_see_each_other_and_pieces_of_one_do(gpt):
    model, tokenizer = gpt
    texts = ["the cat sat", "a dog ran to the red house and saw it !", "it"]
    together = score_next_tokens(model, tokenizer, [(text, True) for text in texts])
    alone = [score_next_tokens(model, tokenizer, [(text, True)]) for text in texts]
    assert together.n_documents == 3
    assert together.nats == pytest.approx(sum(score.nats for score in alone), rel=1e-5)
    cut = score_next_tokens(model, tokenizer, [("the cat", True), (" sat", False)])
    assert cut.nats == pytest.approx(alone[0].nats, rel=1e-5)


def test_figures_follow_from_the_sums(gpt):
    model, tokenizer = gpt
    score = score_next_tokens(model, tokenizer, [("the cat sat", True)])
    assert score.loss == pytest.approx(score.nats / 3)
    assert score.perplexity == pytest.approx(math.exp(score.loss))
    assert score.bits_per_byte == pytest.approx(score.nats / math.log(2) / 11)


@torch.no_grad()
def test_hidden_tokens_are_a_share_of_the_text_at_places_the_seed_fixes(bert):
    text = "the cat sat on the mat . a dog ran to the red house ! " * 8
    first, again, other = (score_hidden_tokens(bert.model, bert.tokenizer, [(text, True)], seed=s) for s in (0, 0, 1))
    assert first == again
    assert first.nats != other.nats
    assert first.n_scored == pytest.approx(0.15 * first.n_tokens, rel=0.1)
    assert 0 <= first.accuracy <= 1


@torch.no_grad()
def test_one_hidden_token_is_scored_as_the_model_scores_it(bert):
    score = score_hidden_tokens(bert.model, bert.tokenizer, [("cat", True)])
    logits = bert.model(torch.tensor([[bert.tokenizer.cls_id, bert.tokenizer.mask_id, bert.tokenizer.sep_id]])).logits
    expected = F.cross_entropy(logits[0, 1:2], torch.tensor([bert.tokenizer.id("cat")]))
    assert score.nats == pytest.approx(float(expected), rel=1e-5)


def test_an_empty_text_has_no_figures(gpt):
    assert math.isnan(score_next_tokens(*gpt, [("", True)]).loss)


def test_a_model_that_computes_nan_has_no_score(gpt):
    import copy

    model, tokenizer = copy.deepcopy(gpt[0]), gpt[1]
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(InputRefused, match="not finite"):
        score_next_tokens(model, tokenizer, [("the cat sat", True)])


@pytest.mark.parametrize(("algorithm", "lost"), [("bpe", 0), ("wordpiece", 3), ("unigram", 3), ("char", 3)])
def test_characters_without_a_token_are_counted_by_every_kind_of_tokenizer(algorithm, lost):
    from llmkit.tokenization.train import train

    tokenizer = train(["the cat sat on the mat"] * 20, algorithm=algorithm, vocab_size=300)
    for text, expected in (("the cat ΩΩ sat Ω\n on", lost), ("the cat sat", 0), ("", 0)):
        assert unknown_characters(tokenizer, text, tokenizer.encode(text)) == expected
