"""XLM-R (Conneau et al. 2019, arXiv:1911.02116): RoBERTa on a hundred languages at once.

Peculiar: nothing in the architecture. What is new is the text, a vocabulary of 250,000 pieces for all languages, and no
word of which language a sentence is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmkit.models.bert_names import FIXED, KEYS
from llmkit.models.families import roberta
from llmkit.models.family import Family, Kind
from llmkit.models.sizing import Sizing

HEADS = {ours: theirs.replace("Roberta", "XLMRoberta") for ours, theirs in roberta.HEADS.items()}


@dataclass(frozen=True, kw_only=True)
class XlmRobertaConfig(roberta.RobertaConfig):
    """Sizes of an XLM-R; defaults are those of the published models."""

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)


FAMILY = Family(
    name="xlm_roberta",
    model_type="xlm-roberta",
    kind=Kind.ENCODER,
    title="XLM-R",
    paper="Conneau et al. 2019, arXiv:1911.02116",
    peculiar="RoBERTa with one vocabulary for a hundred languages",
    objective="masked tokens",
    positions="learned",
    sizing=Sizing(norm_after=True),
    config_class=XlmRobertaConfig,
    heads=HEADS,
    keys=KEYS,
    fixed=FIXED,
    token_ids=roberta.TOKEN_IDS,
    more_from_hf=roberta.more_from_hf,
    more_to_hf=roberta.more_to_hf,
    build=roberta.build,
    weight_rules=roberta.weight_rules,
)
