"""XLNet with uncomfortable settings.

Its classes get two things: `cache`, our memory of earlier segments, is handed on as their `mems`; and sinusoids follow
the weights' dtype, without which two streams do not run in float64.
"""

import torch
import transformers

from llmkit.nn.memory import SegmentMemory


def oracle(name):
    class Oracle(getattr(transformers, name)):
        def __init__(self, config):
            super().__init__(config)
            if hasattr(self, "transformer"):
                self.transformer.__class__ = XLNetModel

        def forward(self, input_ids, attention_mask=None, cache=None, token_type_ids=None, **more):
            more |= {
                k: v.to(self.dtype) for k, v in more.items() if k in ("perm_mask", "target_mapping") and v is not None
            }
            if cache is not None:
                more["mems"] = [cache.states(i).transpose(0, 1).to(self.dtype) for i in range(cache.n_layers)]
            given = {"attention_mask": attention_mask, "token_type_ids": token_type_ids, **more}
            return super().forward(input_ids, **given)

        def relative_positional_encoding(self, *arguments, **more):
            return super().relative_positional_encoding(*arguments, **more).to(self.dtype)

    Oracle.__name__ = Oracle.__qualname__ = name
    return Oracle


XLNetModel = oracle("XLNetModel")
XLNetLMHeadModel = oracle("XLNetLMHeadModel")
XLNetForSequenceClassification = oracle("XLNetForSequenceClassification")
XLNetForTokenClassification = oracle("XLNetForTokenClassification")
XLNetForQuestionAnsweringSimple = oracle("XLNetForQuestionAnsweringSimple")


class Kept(SegmentMemory):
    """A memory that stays as it is, so that the same arguments mean the same twice."""

    def advance(self, tokens):
        pass


def segments(generator, batch):
    return {"token_type_ids": torch.randint(0, 3, batch["input_ids"].shape, generator=generator)}


def places(generator, batch, n=4):
    """A random order, in which each token sees those before it, and places to guess; they see not even themselves."""
    rows, seq = batch["input_ids"].shape
    rank = torch.rand(rows, seq, generator=generator).argsort(-1)
    targets = torch.rand(rows, seq, generator=generator).argsort(-1)[:, :n]
    return {
        "perm_mask": (rank[:, None, :] >= rank[:, :, None]).float(),
        "target_mapping": torch.nn.functional.one_hot(targets, seq).float(),
    }


def two_streams(generator, batch):
    return segments(generator, batch) | places(generator, batch)


def odd_mapping(generator, batch):
    """A place that stands nowhere, one that stands twice, and two that stand together."""
    given = two_streams(generator, batch)
    mapping = given["target_mapping"]
    mapping[:, 0] = 0
    mapping[:, 1, 3] = mapping[:, 1, 8] = 0.5
    mapping[:, 3] = mapping[:, 2]
    return given


def every_place(batch):
    return torch.ones(batch["target_mapping"].shape[:2], dtype=torch.bool)


def only_order(generator, batch):
    return segments(generator, batch) | {"perm_mask": places(generator, batch)["perm_mask"]}


def remembered(length, layers=2, extra=two_streams):
    def make(generator, batch):
        memory = Kept(layers, length)
        shape = (len(batch["input_ids"]), length, BASE["d_model"])
        memory._states = [torch.randn(shape, generator=generator) for _ in range(layers)]
        return extra(generator, batch) | {"cache": memory}

    return make


def some_rows(rows, extra=two_streams):
    """Fewer texts: two can be halved, and transformers reads masked texts from left to right one at a time only."""

    def make(generator, batch):
        fewer = {name: value[rows] for name, value in batch.items()}
        return fewer | extra(generator, fewer)

    return make


BASE = {"vocab_size": 53, "d_model": 24, "n_layer": 2, "n_head": 3, "d_inner": 37}
GUESS = {"extra": two_streams, "real": every_place}
READ = {"extra": segments, "idle": "mask_embedding"}
WORDS = {"idle": r"mask_embedding|.*\.segment(s|_bias)"}
UNI, ONE = BASE | {"attn_type": "uni"}, slice(1, 2)

CASES = {
    "plain": (XLNetLMHeadModel, BASE, GUESS),
    "one stream": (XLNetLMHeadModel, BASE, READ),
    "only words": (XLNetLMHeadModel, BASE, WORDS),
    "only order": (XLNetLMHeadModel, BASE, READ | {"extra": only_order}),
    "memory": (XLNetLMHeadModel, BASE | {"n_layer": 3, "mem_len": 7}, GUESS | {"extra": remembered(7, 3)}),
    "long memory": (XLNetLMHeadModel, BASE | {"clamp_len": 6}, GUESS | {"extra": remembered(29), "seq": 17}),
    "left to right": (
        XLNetLMHeadModel,
        UNI | {"ff_activation": "gelu_new"},
        READ | {"extra": some_rows(ONE, remembered(4, extra=segments))},
    ),
    "places left to right": (XLNetLMHeadModel, UNI, GUESS | {"extra": some_rows(ONE), "paddings": ("left",)}),
    "halved": (XLNetLMHeadModel, BASE | {"bi_data": True, "clamp_len": 5}, GUESS | {"extra": some_rows(slice(2))}),
    "odd mapping": (XLNetLMHeadModel, BASE | {"ff_activation": "relu", "n_head": 1}, GUESS | {"extra": odd_mapping}),
    "untied": (XLNetLMHeadModel, BASE | {"tie_word_embeddings": False, "layer_norm_eps": 1e-3}, GUESS),
    "classifier": (XLNetForSequenceClassification, BASE | {"num_labels": 5}, READ),
    "mean": (
        XLNetForSequenceClassification,
        BASE | {"summary_type": "mean", "summary_activation": "relu", "summary_last_dropout": 0.3},
        READ,
    ),
    "first": (
        XLNetForSequenceClassification,
        BASE | {"summary_type": "first", "summary_use_proj": False, "num_labels": 1},
        READ,
    ),
    "token classifier": (XLNetForTokenClassification, BASE | {"num_labels": 3, "n_head": 4}, READ),
    "span": (XLNetForQuestionAnsweringSimple, BASE, READ | {"extra": remembered(3, extra=segments)}),
    "backbone": (XLNetModel, BASE | {"n_layer": 1}, GUESS),
}


def their_maps(output, batch):
    """The maps of the words; the places have maps of their own."""
    return {"self": [maps[0] if isinstance(maps, tuple) else maps for maps in output["attentions"]]}
