"""The wiring that T5 and its kin share; they differ in what stands where the feed-forward layer is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmkit.models.t5_names import ENCODER_ONLY, T5LikeConfig

if TYPE_CHECKING:
    from torch import nn

    from llmkit.models.shells import EncoderModel
    from llmkit.models.two_towers import EncoderDecoderModel


def t5_model(
    c: T5LikeConfig,
    feed_forward: Callable[[str, int], nn.Module],
    *,
    share_embeddings: bool = True,
    head_dropout: float = 0.0,
) -> EncoderDecoderModel | EncoderModel:
    """Both towers, or the encoder alone, with the head that the config names; weights are not drawn yet.

    feed_forward: makes the last sublayer of a block, called with "encoder" or "decoder" and the layer's number.
    """
    from torch import nn

    from llmkit.models.shells import EncoderModel, Tower
    from llmkit.models.two_towers import EncoderDecoderModel, shifted_right
    from llmkit.nn.attention import Attention, CrossAttention
    from llmkit.nn.embeddings import Embeddings, Scale
    from llmkit.nn.heads import Decision, LastEnd, LMHead, every_token
    from llmkit.nn.linear import Embedding, Linear
    from llmkit.nn.norms import RMSNorm
    from llmkit.nn.score_bias import RelativeBias
    from llmkit.nn.wiring import Block, Residual, Stack

    def residual(body: nn.Module) -> Residual:
        return Residual(body, pre_norm=RMSNorm(c.d_model, c.norm_eps), dropout=c.dropout)

    def attention() -> Residual:
        return residual(
            Attention(c.d_model, c.n_heads, head_dim=c.head_dim, bias=False, scale=1.0, dropout=c.attention_dropout)
        )

    def cross() -> Residual:
        return residual(
            CrossAttention(
                c.d_model, c.n_heads, head_dim=c.head_dim, bias=False, scale=1.0, dropout=c.attention_dropout
            )
        )

    def stack(blocks: list[Block]) -> Stack:
        return Stack(blocks, nn.Sequential(RMSNorm(c.d_model, c.norm_eps), nn.Dropout(c.dropout)))

    def embeddings(table: Embedding | None = None) -> Embeddings:
        return Embeddings(c.vocab_size, c.d_model, table=table, dropout=c.dropout)

    def relative(*, two_way: bool) -> RelativeBias:
        return RelativeBias(c.n_heads, n_buckets=c.n_buckets, max_distance=c.max_distance, two_way=two_way)

    read = embeddings()
    reads = stack(
        [Block(attn=attention(), ffn=residual(feed_forward("encoder", i))) for i in range(c.n_layers)],
    )
    if c.head in ENCODER_ONLY:
        tags = Decision(c.d_model, len(c.labels), dropout=head_dropout) if c.head == "token_classification" else None
        return EncoderModel(c, read, reads, tags, score_bias=relative(two_way=True))

    written = embeddings(read.token if share_embeddings else None)
    writes = stack(
        [
            Block(attn=attention(), cross=cross(), ffn=residual(feed_forward("decoder", i)))
            for i in range(c.n_decoder_layers)
        ]
    )

    def words() -> LMHead:
        # Its vectors begin with length sqrt(d_model), being embeddings too; one of its own is drawn smaller instead.
        scale = Scale(c.d_model**-0.5) if c.tie_embeddings else None
        tied = written.token.weight if c.tie_embeddings else None
        return LMHead(c.d_model, c.vocab_size, tied=tied, transform=scale)

    def decision() -> Decision:
        dense = nn.Sequential(nn.Dropout(head_dropout), Linear(c.d_model, c.d_model), nn.Tanh())
        return Decision(c.d_model, len(c.labels), pool=dense, dropout=head_dropout)

    heads: dict[str, Callable[[], nn.Module | None]] = {
        "seq2seq": words,
        "classification": decision,
        "span": lambda: Decision(c.d_model, 2),
        "backbone": lambda: None,
    }
    start = c.decoder_start_id if c.decoder_start_id is not None else c.pad_id or 0
    return EncoderDecoderModel(
        c,
        encoder=Tower(read, reads, score_bias=relative(two_way=True)),
        decoder=Tower(written, writes, is_causal=True, score_bias=relative(two_way=False)),
        head=heads[c.head](),
        select=LastEnd(c.eos_id) if c.head == "classification" else every_token,
        starts=shifted_right(start, c.pad_id) if c.head in ("classification", "span") else None,
    )
