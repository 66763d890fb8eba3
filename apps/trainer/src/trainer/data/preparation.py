"""Turn text into a tokenizer and token files, and reuse whatever an earlier run left.

Stage: corpus -> *tokenizer, token files* -> batches. Both lie in a folder named by a hash of
everything they follow from: the text, how it is divided, the tokenizer's settings, the formats.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accounting.plural import plural
from bpe import UNICODE_VERSION, Vocabulary, train_vocabulary
from tokenizer import TokenFile, Tokenizer
from trainer.config.run_config import END_OF_TEXT, RunConfig, TokenizerConfig
from trainer.data.corpus import Corpus, resolve_corpus, short_hash
from trainer.data.provenance import (
    VERSION,
    open_tokenizer,
    open_tokens,
    record_tokenizer,
    record_tokens,
)
from trainer.data.shared_folder import open_or_build
from trainer.data.text_files import SEPARATOR, TextFile
from trainer.monitoring.progress import Reporter, Stage, Unit

_BLOCK_TOKENS = 1 << 22
_TRAINING_STAGES: dict[str, tuple[str, Unit]] = {
    "count": ("count pretokens", "bytes"),
    "merge": ("learn merges", "merges"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedData:
    """What training needs of the text."""

    directory: Path
    """Where it lies; named by the content hash."""
    content_hash: str
    tokenizer: Tokenizer
    train: TokenFile
    validation: TokenFile
    validation_bytes: int
    """UTF-8 bytes of the validation text, separators not counted."""
    notes: tuple[str, ...]
    """What a reader of the results should know: files left out, how the text was divided."""

    def hashes(self) -> dict[str, str]:
        """Return what identifies the data: equal hashes, equal batches."""
        return {
            "content_hash": self.content_hash,
            "tokenizer": self.tokenizer.fingerprint,
            "train_tokens": self.train.info.sha256,
            "validation_tokens": self.validation.info.sha256,
        }


def prepare(
    config: RunConfig, *, reporter: Reporter, context_length: int | None = None
) -> PreparedData:
    """Return tokenizer and token files for a run; make what does not exist yet.

    Args:
        config: the run; its sections about text alone decide.
        reporter: hears what is done.
        context_length: of the model that is to be trained; text that cannot hold a window is
            refused before a tokenizer is trained on it. None: any text will do.

    Raises:
        ValueError: unusable text, see `resolve_corpus`; prepared data that was altered since.
    """
    corpus = resolve_corpus(config.corpus, reporter=reporter)
    if context_length is not None:
        _require_room(corpus, context_length)
    content_hash = _content_hash(corpus, config.tokenizer)
    directory = config.corpus.cache_dir / content_hash
    tokenizer, has_tokenizer = open_or_build(
        directory / "tokenizer",
        read=open_tokenizer,
        build=lambda folder: _train_tokenizer(corpus, config.tokenizer, folder, reporter=reporter),
        reporter=reporter,
    )
    (train, validation), has_tokens = open_or_build(
        directory / "tokens",
        read=lambda folder: open_tokens(folder, tokenizer, reporter=reporter),
        build=lambda folder: _encode(
            corpus, tokenizer, folder, num_threads=config.tokenizer.num_workers, reporter=reporter
        ),
        reporter=reporter,
    )
    reused = [
        name
        for name, is_reused in (("tokenizer", has_tokenizer), ("token files", has_tokens))
        if is_reused
    ]
    if reused:
        reporter.say(f"reusing {directory}: {', '.join(reused)}")
    notes = _tokenizer_notes(tokenizer, config.tokenizer)
    for line in (*notes, f"tokens: {len(train):,} to train on, {len(validation):,} to validate on"):
        reporter.say(line)
    return PreparedData(
        directory=directory,
        content_hash=content_hash,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
        validation_bytes=_text_bytes(validation, tokenizer.vocabulary),
        notes=(*corpus.notes, *notes),
    )


def open_prepared(directory: Path, *, reporter: Reporter) -> PreparedData:
    """Open what `prepare` left in a folder, without the text that it was made of.

    Raises:
        ValueError: it is damaged, or not what was recorded.
        OSError: a file is missing.
    """
    tokenizer = open_tokenizer(directory / "tokenizer")
    train, validation = open_tokens(directory / "tokens", tokenizer, reporter=reporter)
    return PreparedData(
        directory=directory,
        content_hash=directory.name,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
        validation_bytes=_text_bytes(validation, tokenizer.vocabulary),
        notes=("the text is gone: the token files that were made of it were used",),
    )


def _require_room(corpus: Corpus, context_length: int) -> None:
    needed = context_length + 1
    texts = {"training": corpus.train, "validation": corpus.validation}
    for name, files in texts.items():
        # A token has a byte or more; end-of-text may be added to each file.
        most = sum(file.size_bytes + 1 for file in files)
        if most < needed:
            raise ValueError(
                f"the {name} text is {most:,} tokens at most, but model.context-length "
                f"{context_length} needs at least {needed:,}; shorten the context or give more text"
            )


def _content_hash(corpus: Corpus, config: TokenizerConfig) -> str:
    """Leave out what changes nothing: names, places, the number of workers."""
    settings = [config.vocab_size, config.pattern, END_OF_TEXT, UNICODE_VERSION]
    return short_hash([VERSION, corpus.content_hash, *settings])


def _train_tokenizer(
    corpus: Corpus, config: TokenizerConfig, folder: Path, *, reporter: Reporter
) -> None:
    with _stages_of_training(reporter) as progress, _forwarded_log("bpe", reporter):
        vocabulary = train_vocabulary(
            [file.path for file in corpus.train],
            config.vocab_size,
            [END_OF_TEXT],
            pattern=config.pattern,
            num_workers=config.num_workers,
            progress=progress,
        )
    tokenizer = Tokenizer.from_vocabulary(vocabulary)
    tokenizer.save(folder)
    record_tokenizer(folder, tokenizer)


def _encode(
    corpus: Corpus,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    num_threads: int | None,
    reporter: Reporter,
) -> None:
    separator = folder / "end-of-text.txt"
    separator.write_bytes(SEPARATOR)
    encoded = {}
    for name, files in (("train", corpus.train), ("validation", corpus.validation)):
        total = sum(file.size_bytes for file in files)
        with reporter.stage(f"encode {name} text", total=total, unit="bytes") as stage:
            encoded[name] = tokenizer.encode_file(
                _separated(files, separator),
                folder / f"{name}.npy",
                num_threads=num_threads,
                progress=lambda done, total, stage=stage: stage.update(done, total=total),
            )
    separator.unlink()
    record_tokens(folder, encoded)


def _separated(files: tuple[TextFile, ...], separator: Path) -> list[Path]:
    """Put end-of-text behind every file that does not bring its own."""
    paths = []
    for file in files:
        paths += [file.path] if file.ends_with_separator else [file.path, separator]
    return paths


def _tokenizer_notes(tokenizer: Tokenizer, config: TokenizerConfig) -> tuple[str, ...]:
    if tokenizer.vocab_size == config.vocab_size:
        return ()
    return (
        f"the training text has no more pairs to merge: the vocabulary has "
        f"{plural(tokenizer.vocab_size, 'token')}, not {config.vocab_size:,}",
    )


def _text_bytes(file: TokenFile, vocabulary: Vocabulary) -> int:
    lengths = np.zeros(file.info.vocab_size, np.int64)
    special = {token.encode() for token in vocabulary.special_tokens}
    for token_id, token in vocabulary.tokens.items():
        lengths[token_id] = 0 if token in special else len(token)
    starts = range(0, len(file), _BLOCK_TOKENS)
    return sum(int(lengths[file.tokens[i : i + _BLOCK_TOKENS]].sum()) for i in starts)


@contextmanager
def _stages_of_training(reporter: Reporter) -> Iterator["_TrainingProgress"]:
    with ExitStack() as stack:
        yield _TrainingProgress(reporter, stack)


class _TrainingProgress:
    """Show each stage that BPE training names; the next one closes the one before."""

    def __init__(self, reporter: Reporter, stack: ExitStack) -> None:
        self._reporter = reporter
        self._stack = stack
        self._name: str | None = None
        self._stage: Stage | None = None

    def __call__(self, name: str, done: int, total: int) -> None:
        if name != self._name:
            self._stack.close()
            description, unit = _TRAINING_STAGES[name]
            self._stage = self._stack.enter_context(
                self._reporter.stage(description, total=total, unit=unit)
            )
            self._name = name
        assert self._stage is not None
        self._stage.update(done, total=total)


@contextmanager
def _forwarded_log(name: str, reporter: Reporter) -> Iterator[None]:
    """Say what a library logs, so that it does not write across the progress display."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reporter.say(record.getMessage())

    logger, handler = logging.getLogger(name), Handler(logging.WARNING)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
