"""The heads that decoder families have in common, and the model around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmkit.models.config import ModelConfig

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.nn.embeddings import Embeddings
    from llmkit.nn.wiring import Stack
    from llmkit.weights.rules import Ignore, Rule


def decoder_model(
    c: ModelConfig,
    embeddings: Embeddings,
    stack: Stack,
    *,
    lm_bias: bool = False,
    head_dropout: float = 0.0,
    d_hidden: int = 0,
    **positions: Any,
) -> DecoderModel:
    """A decoder with the head that the config names.

    causal_lm: next tokens; classification: class scores at the last token; token_classification: at every token;
    span: start and end scores of an answer. d_hidden: width of the hidden states; 0: d_model. positions: what `Tower`
    takes (rotary, score_bias, window).
    """
    from llmkit.models.shells import DecoderModel
    from llmkit.nn.heads import Decision, LastToken, LMHead, every_token

    def words() -> LMHead:
        tied = embeddings.token.weight if c.tie_embeddings else None
        return LMHead(embeddings.token.embedding_dim, c.vocab_size, tied=tied, bias=lm_bias)

    width = d_hidden or c.d_model
    heads = {
        "causal_lm": words,
        "classification": lambda: Decision(width, len(c.labels), bias=False),
        "token_classification": lambda: Decision(width, len(c.labels), dropout=head_dropout),
        "span": lambda: Decision(width, 2),
        "backbone": lambda: None,
    }
    select = LastToken(c.pad_id) if c.head == "classification" else every_token
    return DecoderModel(c, embeddings, stack, heads[c.head](), select=select, **positions)


def decoder_head_rules(
    c: ModelConfig,
    *,
    words: str = "lm_head",
    labels: str = "score",
    token_labels: str = "score",
    span: str = "qa_outputs",
) -> list[Rule | Ignore]:
    """Weight rules of those heads; words, labels, token_labels, span: what the checkpoints call them."""
    from llmkit.weights.rules import Alias, Rename

    tied = Alias(f"{words}.weight", "embeddings.token.weight")
    rules: dict[str, list[Rule | Ignore]] = {
        "causal_lm": [tied if c.tie_embeddings else Rename(words, "head.decoder")],
        "classification": [Rename(labels, "head.linear")],
        "token_classification": [Rename(token_labels, "head.linear")],
        "span": [Rename(span, "head.linear")],
        "backbone": [],
    }
    return rules[c.head]
