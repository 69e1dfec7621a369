"""What each objective of a recipe needs: a kind of model, a head, a form of text, special tokens. No torch here.

The objectives themselves, one file each, are in llmkit.training.objectives, under the names given here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from llmkit.models.family import Family, Kind
from llmkit.models.registry import load_family

if TYPE_CHECKING:
    from llmkit.recipe.schema import ObjectiveSettings, Recipe

FRAME = ("[CLS]", "[SEP]", "[MASK]")
# T5's number. A text with more holes than that is cut into more examples.
SENTINELS = tuple(f"<extra_id_{i}>" for i in range(100))


class Form(str, Enum):
    """How text is cut up for an objective.

    STREAM: documents in a row, each closed by the end token. SENTENCES: documents of sentences, no end tokens.
    PAIRS: two texts that belong together. CODED: documents that begin with a code. ROWS: labelled texts, for
    fine-tuning.
    """

    STREAM = "stream"
    SENTENCES = "sentences"
    PAIRS = "pairs"
    CODED = "coded"
    ROWS = "rows"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One objective. kinds: models it trains. heads: settings -> heads that serve, the best first.

    special: tokens that must be in the vocabulary. rate: share of the tokens (or sentences) that the paper hides.
    decoders_form: the form of text for decoders, if it is another; they need no special tokens then.
    examples: families to point at. only, needs: the families it trains and what they have, where the kind does not
    tell. config: settings of the model that it brings along. next: what to try
    when the run is over.
    """

    name: str
    title: str
    paper: str
    kinds: tuple[Kind, ...]
    heads: Callable[[ObjectiveSettings], tuple[str, ...]]
    form: Form
    special: tuple[str, ...] = ()
    decoders_form: Form | None = None
    rate: float = 0.15
    examples: tuple[str, ...]
    only: tuple[str, ...] = ()
    needs: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    next: str = ""

    def head(self, family: Family, settings: ObjectiveSettings) -> str | None:
        """The head of this family that the objective trains; None when it has none."""
        return next((head for head in self.heads(settings) if head in family.heads), None)

    def fits(self, family: Family) -> bool:
        """Whether the family is of a kind this objective trains."""
        return family.kind in self.kinds and (not self.only or family.name in self.only)


def _always(*heads: str) -> Callable[[ObjectiveSettings], tuple[str, ...]]:
    return lambda settings: heads


def _masked_heads(settings: ObjectiveSettings) -> tuple[str, ...]:
    return ("pretraining",) if settings.next_sentence or settings.sentence_order else ("masked_lm", "pretraining")


_FILL = 'llmkit predict fill-mask "Some words and a [MASK]."'
_WRITE = 'llmkit generate --prompt "..."'
_TURN = 'llmkit generate --temperature 0 --prompt "..."'
_ENCODERS, _DECODERS, _BOTH = (Kind.ENCODER,), (Kind.DECODER,), (Kind.ENCODER_DECODER,)

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="masked",
            title="fill in hidden tokens; with next_sentence or sentence_order also judge pairs of sentences",
            paper="Devlin et al. 2018, arXiv:1810.04805; Liu et al. 2019, arXiv:1907.11692; Lan et al. 2019, "
            "arXiv:1909.11942",
            kinds=_ENCODERS,
            heads=_masked_heads,
            form=Form.SENTENCES,
            special=FRAME,
            examples=("bert", "roberta", "albert"),
            next=_FILL,
        ),
        Task(
            name="causal",
            title="guess the next token",
            paper="Radford et al. 2018, Improving Language Understanding by Generative Pre-Training",
            kinds=(Kind.DECODER, Kind.ENCODER),  # Reformer's causal model is an encoder's
            heads=_always("causal_lm"),
            form=Form.STREAM,
            examples=("gpt2", "llama"),
            next=_WRITE,
        ),
        Task(
            name="replaced_token",
            title="tell which tokens a small generator has replaced",
            paper="Clark et al. 2020, arXiv:2003.10555",
            kinds=_ENCODERS,
            heads=_always("replaced_token"),
            form=Form.SENTENCES,
            special=FRAME,
            examples=("electra", "funnel"),
        ),
        Task(
            name="distillation",
            title="a student learns to say what a trained teacher says",
            paper="Sanh et al. 2019, arXiv:1910.01108",
            kinds=(Kind.ENCODER, Kind.DECODER),
            heads=_always("masked_lm", "causal_lm"),
            form=Form.SENTENCES,
            special=FRAME,
            decoders_form=Form.STREAM,
            examples=("distilbert",),
            next=_FILL,
        ),
        Task(
            name="translation_masked",
            title="fill in hidden tokens of a text and its translation, side by side",
            paper="Lample and Conneau 2019, arXiv:1901.07291",
            kinds=_ENCODERS,
            heads=_always("masked_lm"),
            form=Form.PAIRS,
            special=FRAME,
            examples=("xlm", "xlm_roberta"),
            next=_FILL,
        ),
        Task(
            name="permutation",
            title="guess tokens in a random order, each from those before it in that order",
            paper="Yang et al. 2019, arXiv:1906.08237",
            kinds=_ENCODERS,
            heads=_always("permutation_lm"),
            form=Form.SENTENCES,
            special=("[CLS]", "[SEP]"),
            rate=1 / 6,
            examples=("xlnet",),
        ),
        Task(
            name="prefix",
            title="read a beginning both ways, then write on token by token",
            paper="Raffel et al. 2020, arXiv:1910.10683; Dong et al. 2019, arXiv:1905.03197",
            kinds=_DECODERS,
            heads=_always("causal_lm"),
            form=Form.STREAM,
            examples=("gpt2", "llama"),
            config={"prefix_lm": True},
            next=_WRITE,
        ),
        Task(
            name="control",
            title="guess the next token of a text that begins with a code for what it is",
            paper="Keskar et al. 2019, arXiv:1909.05858",
            kinds=_DECODERS,
            heads=_always("causal_lm"),
            form=Form.CODED,
            examples=("ctrl", "gpt2"),
            next='llmkit generate --prompt "<|a code|> ..."',
        ),
        Task(
            name="recurrent",
            title="guess the next token with a memory of the segments before",
            paper="Dai et al. 2019, arXiv:1901.02860",
            kinds=_DECODERS,
            heads=_always("causal_lm"),
            form=Form.STREAM,
            examples=("transformer_xl",),
            only=("transformer_xl",),
            needs="a model with a memory",
            next=_WRITE,
        ),
        Task(
            name="span_corruption",
            title="write what stood in the holes of a text, hole by hole",
            paper="Raffel et al. 2020, arXiv:1910.10683",
            kinds=_BOTH,
            heads=_always("seq2seq"),
            form=Form.SENTENCES,
            special=SENTINELS,
            examples=("t5", "switch_transformers"),
            next='llmkit generate --temperature 0 --prompt "Some words and a <extra_id_0> here."',
        ),
        Task(
            name="denoising",
            title="write the whole text from one with holes and shuffled sentences",
            paper="Lewis et al. 2019, arXiv:1910.13461",
            kinds=_BOTH,
            heads=_always("seq2seq"),
            form=Form.SENTENCES,
            special=("[MASK]",),
            rate=0.3,
            examples=("bart",),
            next='llmkit generate --temperature 0 --prompt "Some words and [MASK] here."',
        ),
        Task(
            name="gap_sentences",
            title="write the most telling sentences, which are missing from the text",
            paper="Zhang et al. 2019, arXiv:1912.08777",
            kinds=_BOTH,
            heads=_always("seq2seq"),
            form=Form.SENTENCES,
            special=("[MASK]",),
            rate=0.3,
            examples=("pegasus",),
            next='llmkit generate --temperature 0 --prompt "A sentence. [MASK] Another."',
        ),
        Task(
            name="future_ngram",
            title="write a hidden span, foretelling several tokens ahead at each place",
            paper="Qi et al. 2020, arXiv:2001.04063",
            kinds=_BOTH,
            heads=_always("seq2seq"),
            form=Form.SENTENCES,
            special=("[MASK]",),
            examples=("prophetnet",),
            next='llmkit generate --temperature 0 --prompt "Some [MASK] [MASK] [MASK] here."',
        ),
        Task(
            name="seq2seq",
            title="turn one text into another: translate, summarize, answer",
            paper="Vaswani et al. 2017, arXiv:1706.03762",
            kinds=_BOTH,
            heads=_always("seq2seq"),
            form=Form.PAIRS,
            examples=("marian", "t5", "bart"),
            next=_TURN,
        ),
        Task(
            name="classify",
            title="tell which label a text has; fine-tunes a checkpoint",
            paper="Devlin et al. 2018, arXiv:1810.04805",
            kinds=(Kind.ENCODER, Kind.DECODER, Kind.ENCODER_DECODER),
            heads=_always("classification"),
            form=Form.ROWS,
            examples=("bert",),
        ),
    )
}
FINE_TUNING = ("classify",)


def task_of(recipe: Recipe) -> Task:
    """The recipe's task, in the form that its kind of model needs."""
    task = TASKS[recipe.objective.name]
    if task.decoders_form and recipe.model and load_family(recipe.model.family).kind is Kind.DECODER:
        return replace(task, form=task.decoders_form, special=())
    return task
