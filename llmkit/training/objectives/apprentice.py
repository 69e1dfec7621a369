"""What a student takes over from its teacher before it learns, and which teachers it can learn from."""

from __future__ import annotations

import re
from typing import Any

import torch

from llmkit.errors import UsageError
from llmkit.models.config import ModelConfig
from llmkit.models.registry import family_of

_BLOCK = re.compile(r"^stack\.blocks\.(\d+)\.")
# The head a teacher may have, by the head of the student.
_TEACHES = {"masked_lm": ("masked_lm", "pretraining"), "causal_lm": ("causal_lm",)}


def check_teacher(teacher: ModelConfig, student: ModelConfig, longest: int) -> None:
    """Raise UsageError for a teacher that cannot say what the student should say in texts of `longest` tokens."""
    name = family_of(teacher).name
    if teacher.head not in _TEACHES[student.head]:
        needed = " or ".join(_TEACHES[student.head])
        raise UsageError(
            f"the teacher is a {name} with the head {teacher.head}; this student needs one with {needed}",
            "name another checkpoint in objective.teacher",
        )
    if teacher.vocab_size != student.vocab_size:
        raise UsageError(
            f"the teacher knows {teacher.vocab_size:,} tokens and the student {student.vocab_size:,}",
            "leave out tokenizer.path, and the teacher's is taken",
        )
    if teacher.max_seq_len < longest:
        raise UsageError(
            f"examples have {longest} tokens; the teacher reads at most {teacher.max_seq_len}",
            f"set train.seq_len (and with objective.long_share model.max_seq_len) to at most {teacher.max_seq_len}",
        )


@torch.no_grad()
def start_from(student: Any, teacher: Any) -> None:
    """Copy the teacher's weights into the student: of its blocks, taken at even distances, as many as there are.

    With half as many blocks, every other one, as DistilBERT did. A segment vector that the student has no place for
    goes into its positions. Raises UsageError, before anything is copied, for what the teacher has not or in another
    shape.
    """
    theirs = teacher.state_dict()
    there, here = teacher.config.n_layers, student.config.n_layers
    found = {}
    for name, parameter in student.named_parameters():
        source = _BLOCK.sub(lambda m: f"stack.blocks.{int(m[1]) * there // here}.", name)
        tensor = theirs.get(source)
        if tensor is None or tensor.shape != parameter.shape:
            shape = "none" if tensor is None else f"{tuple(tensor.shape)}"
            raise UsageError(
                f"the student cannot start from the teacher: its {name} is {tuple(parameter.shape)}, "
                f"the teacher's is {shape}",
                "make the student as wide as the teacher, or set objective.from_teacher=false",
            )
        found[parameter] = tensor
    for parameter, tensor in found.items():
        parameter.copy_(tensor)
    segment, position = "embeddings.added.segment.weight", "embeddings.added.position.weight"
    own = dict(student.named_parameters())
    if segment in theirs and segment not in own and position in own:
        own[position] += theirs[segment][0]


@torch.no_grad()
def hidden_width(model: Any) -> int:
    """Numbers in a hidden state, which some models have more of than their blocks are wide."""
    was_training = model.training
    some = torch.zeros((1, min(8, model.config.max_seq_len)), dtype=torch.long, device=next(model.parameters()).device)
    width = int(model.eval().encode(some).shape[-1])
    model.train(was_training)
    return width
