"""From a recipe to tokens: the tokenizer, and the tokenized training and validation text. No torch here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.data.codes import check_known, code_token
from llmkit.data.corpus import TokenCorpus
from llmkit.data.known_files import KnownFiles
from llmkit.data.lengths import count_longer
from llmkit.data.parallel import Pairs
from llmkit.data.parallel_split import open_pair_split
from llmkit.data.sampling import ENOUGH, sampled
from llmkit.data.sources import Source, open_source
from llmkit.data.split import Corpus, open_split
from llmkit.data.weights import open_weighted, open_weighted_pairs
from llmkit.errors import InputRefused, StorageError, UsageError
from llmkit.models.family import Kind
from llmkit.recipe.schema import Recipe, TokenizerSettings
from llmkit.recipe.tasks import Form, Task, task_of
from llmkit.tokenization.framing import close_texts
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.tokenization.train import train as train_tokenizer
from llmkit.training.cache import text_cache
from llmkit.training.ingredients import Ingredient
from llmkit.training.learned import remembered
from llmkit.training.resume import Resumption
from llmkit.training.teacher import find
from llmkit.units import be, counted, size

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """All that training needs from the text. named_tokenizer: the one the recipe names now."""

    tokenizer: Tokenizer
    train: TokenCorpus
    validation: TokenCorpus | None
    named_tokenizer: Tokenizer

    @property
    def ingredients(self) -> dict[str, Ingredient]:
        """What must be the same when a run goes on, by name."""
        texts = {"train": self.train} | ({"validation": self.validation} if self.validation else {})
        found = {"tokenizer": Ingredient.of_tokenizer(self.named_tokenizer, self.tokenizer)}
        for name, text in texts.items():
            counts = {"documents": text.n_documents, "tokens": len(text)}
            found[name] = Ingredient(text.content_sha256, counts)
        return found


def prepare(recipe: Recipe, store: Path, cache: Path, *, tokenizer: Path | None = None, say: Say) -> Prepared:
    """Read the text, learn or load the tokenizer, tokenize; what is in the cache is not done again.

    tokenizer: the directory of the one to use when a run goes on; it is not learned again then.
    """
    train, validation = open_texts(recipe, cache)
    task = task_of(recipe)
    codes = known_codes(train, validation) if task.form is Form.CODED else ()
    settings = recipe.tokenizer
    assert settings is not None, "a recipe for pre-training has a tokenizer section"
    if tokenizer is None:
        learned = named = get_tokenizer(settings, train, store, task=task, codes=codes, cache=cache, say=say)
    else:
        learned = named = Tokenizer.from_file(tokenizer)
        if settings.path is not None:
            # One that has gone since is no loss: the run keeps its own copy. One that changed is for the user to judge.
            with contextlib.suppress(StorageError, UsageError):
                named = get_tokenizer(settings, train, store, task=task, codes=codes, cache=cache, say=say)
    check_roles(learned, task, codes)

    def tokenize(text: Corpus | Pairs, what: str) -> TokenCorpus:
        corpus = TokenCorpus.build(
            text,
            learned.encode_batch,
            cache=cache,
            tokenizer_digest=learned.sha256,
            vocab_size=learned.vocab_size,
            end_id=None if task.form is Form.SENTENCES else learned.eos_id,
            sentences=task.form is Form.SENTENCES,
            tokenizer=learned.to_json(),
            codes={code: id for code in codes if (id := learned.id(code_token(code))) is not None} or None,
        )
        for line in (*corpus.report.lines(), *_lengths(corpus, recipe.train.seq_len, task.form)):
            say(f"{what}: {line}")
        return corpus

    ours = tokenize(train, "training")
    theirs = tokenize(validation, "validation") if validation is not None else None
    if theirs is not None and (common := theirs.count_common(ours)):
        texts = counted(common, "pair" if task.form is Form.PAIRS else "document")
        say(f"validation: {texts} {be(common)} also in the training text, word for word")
    return Prepared(learned, ours, theirs, named)


def _lengths(corpus: TokenCorpus, most: int, form: Form) -> list[str]:
    """What becomes of text that is longer than an example; objectives on pairs say it themselves."""
    if form is Form.SENTENCES:
        longer = count_longer(corpus.sentence_starts, most)
        what = counted(longer, "sentence")
        return [f"{what} {be(longer)} longer than an example of {most} tokens, and cut up"] if longer else []
    if form is Form.PAIRS or corpus.n_documents < 2:
        return []
    longer = count_longer(corpus.document_starts, most)
    many = f"{longer:,} of {counted(corpus.n_documents, 'document')}"
    return [f"{many} {be(longer)} longer than an example of {most} tokens, and spread over several"] if longer else []


def prepare_in_cache(recipe: Recipe, store: Path, resumption: Resumption | None, *, say: Say) -> Prepared:
    """`prepare` for a run of `store`, with the tokenizer of the checkpoint when the run goes on."""
    with text_cache(store) as cache:
        tokenizer = resumption.checkpoint.path if resumption else None
        return prepare(recipe, store, cache, tokenizer=tokenizer, say=say)


def open_texts(recipe: Recipe, cache: Path) -> tuple[Corpus | Pairs, Corpus | Pairs | None]:
    """`named_texts`; pipes are copied to `cache` so they can be reread."""
    train, validation = named_texts(recipe)
    return train.spooled(cache), validation.spooled(cache) if validation is not None else None


def named_texts(recipe: Recipe) -> tuple[Corpus | Pairs, Corpus | Pairs | None]:
    """The training and the validation text that the recipe names, in the form that its objective needs."""
    d, form = recipe.data, task_of(recipe).form
    unread = ("field", "label") if form is Form.PAIRS else ("text",) if form is Form.CODED else ("text", "label")
    for name in unread:
        if getattr(d, name) is not None:
            other = "data.text and data.pair" if form is Form.PAIRS else "data.field"
            raise UsageError(f"data.{name} is not read by {recipe.objective.name}", f"columns of texts: {other}")
    if form is Form.PAIRS:
        settings: dict[str, Any] = {"text": d.text, "pair": d.pair, "stories": d.stories, "seed": d.seed}
        sides = (d.validation, d.validation_target)
        if d.weights is not None:
            return open_weighted_pairs(d.train, d.target, d.weights, *sides, fraction=d.validation_fraction, **settings)
        return open_pair_split(d.train, d.target, *sides, fraction=d.validation_fraction, **settings)
    for given, name in ((d.target, "target"), (d.validation_target, "validation_target"), (d.pair, "pair")):
        if given is not None:
            raise UsageError(
                f"data.{name} makes pairs of texts, and {recipe.objective.name} reads single texts",
                "remove it, or choose an objective for pairs: seq2seq or translation_masked",
            )
    settings = {"field": d.field, "stories": d.stories, "seed": d.seed}
    settings |= {"coded": form is Form.CODED, "label": d.label}
    if d.weights is not None:
        return open_weighted(d.train, d.weights, d.validation, fraction=d.validation_fraction, **settings)
    if d.validation is None and d.validation_fraction == 0:
        return open_source(d.train, **settings), None
    # With a validation source of its own the fraction has no say, but it must still be one.
    return open_split(d.train, d.validation, fraction=d.validation_fraction or 0.05, **settings)


def known_codes(train: Corpus | Pairs, validation: Corpus | Pairs | None) -> tuple[str, ...]:
    """What documents begin with; raises InputRefused when the validation text has a code of its own."""
    assert not isinstance(train, Pairs)
    codes = train.codes()
    if isinstance(validation, Source):
        check_known(validation.codes(), codes, "the validation text")
    return codes


def get_tokenizer(
    settings: TokenizerSettings,
    train: Corpus | Pairs,
    store: Path,
    *,
    task: Task,
    codes: Sequence[str] = (),
    cache: Path | None = None,
    say: Say,
) -> Tokenizer:
    """The tokenizer the recipe names by path, else one learned from the training text, if not found in `cache`."""
    if settings.path is not None:
        path = Path(settings.path).expanduser()
        return Tokenizer.from_file(path if path.is_file() else find(settings.path, store))
    special = (*task.special, *map(code_token, codes))

    def learn() -> Tokenizer:
        documents, share = sampled(train, ENOUGH)
        part = f"about {size(ENOUGH)}, {share:.2g} of all, spread over " if share < 1 else ""
        say(f"learning a {settings.algorithm} tokenizer from {part}{train.describe()}")
        return train_tokenizer(
            documents,
            algorithm=settings.algorithm,
            vocab_size=settings.vocab_size,
            extra_special=special,
            wide_mask=True,
        )

    text = train.fingerprint(KnownFiles(cache).sha256) if cache is not None else ""
    tokenizer, known = remembered(cache, f"{text} {settings} {special} {ENOUGH} wide mask", learn)
    if known:
        say(f"the {settings.algorithm} tokenizer was learned from this text before, and is in the cache")
    if task.kinds == (Kind.ENCODER_DECODER,):
        close_texts(tokenizer)
    return tokenizer


def check_roles(tokenizer: Tokenizer, task: Task, codes: Sequence[str] = ()) -> None:
    """Refuse a tokenizer that lacks a special token the objective puts into examples."""
    roles = {"[CLS]": tokenizer.cls_id, "[SEP]": tokenizer.sep_id, "[MASK]": tokenizer.mask_id}
    wanted = (*task.special, *map(code_token, codes))
    missing = [t for t in wanted if (roles[t] if t in roles else tokenizer.id(t)) is None]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise InputRefused(
            f"the tokenizer has no {shown}, which the {task.name} objective needs",
            "leave out tokenizer.path, and one is learned that has them",
        )
