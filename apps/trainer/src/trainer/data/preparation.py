"""Turn text into a tokenizer and token files, and reuse those of an earlier run.

Stage: corpus -> *tokenizer, token files* -> batches. Both are in a folder named by a hash of
everything that determines them: the text, how it is divided, the tokenizer's settings, the formats.
Not here: the text (`corpus.py`), verification of prepared folders (`provenance.py`).
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from accounting.plural import plural
from bpe import UNICODE_VERSION, train_vocabulary
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

_TRAINING_STAGES: dict[str, tuple[str, Unit]] = {
    "count": ("count pretokens", "bytes"),
    "merge": ("learn merges", "merges"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedData:
    """Text, ready for training."""

    directory: Path
    """The folder that holds it; named by the content hash."""
    tokenizer: Tokenizer
    train: TokenFile
    validation: TokenFile
    notes: tuple[str, ...]
    """Notes on the results: files left out, how the text was divided."""

    def hashes(self) -> dict[str, str]:
        """Return the identity of the data: equal hashes, equal batches."""
        return {
            "content_hash": self.directory.name,
            "tokenizer": self.tokenizer.fingerprint,
            "train_tokens": self.train.info.sha256,
            "validation_tokens": self.validation.info.sha256,
        }


def prepare(
    config: RunConfig, *, reporter: Reporter, context_length: int | None = None
) -> PreparedData:
    """Return tokenizer and token files for a run; make those that do not exist yet.

    Args:
        config: the run; only its sections about text matter.
        reporter: shows progress.
        context_length: the model's; text shorter than one window is refused before a tokenizer is
            trained on it. None: any text will do.

    Raises:
        ValueError: unusable text, see `resolve_corpus`; prepared data that was altered.
    """
    corpus = resolve_corpus(config.corpus, reporter=reporter)
    if context_length is not None:
        _require_room(corpus, context_length)
    directory = config.corpus.cache_dir / _content_hash(corpus, config.tokenizer)
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
    found = {"tokenizer": has_tokenizer, "token files": has_tokens}
    if reused := [name for name, is_reused in found.items() if is_reused]:
        reporter.say(f"reusing {directory}: {', '.join(reused)}")
    notes = _tokenizer_notes(tokenizer, config.tokenizer)
    for line in (*notes, f"tokens: {len(train):,} to train on, {len(validation):,} to validate on"):
        reporter.say(line)
    return PreparedData(
        directory=directory,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
        notes=(*corpus.notes, *notes),
    )


def open_prepared(directory: Path, *, reporter: Reporter) -> PreparedData:
    """Open a folder that `prepare` left, without the text it was made from.

    Raises:
        ValueError: it is damaged, or does not match its record.
        OSError: a file is missing.
    """
    tokenizer = open_tokenizer(directory / "tokenizer")
    train, validation = open_tokens(directory / "tokens", tokenizer, reporter=reporter)
    return PreparedData(
        directory=directory,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
        notes=("the text is gone; its token files were used",),
    )


def _require_room(corpus: Corpus, context_length: int) -> None:
    needed = context_length + 1
    for name, files in (("training", corpus.train), ("validation", corpus.validation)):
        # A token has at least one byte; end-of-text may be added to each file.
        most = sum(file.size_bytes + 1 for file in files)
        if most < needed:
            raise ValueError(
                f"the {name} text has at most {most:,} tokens, but model.context-length "
                f"{context_length} needs at least {needed:,}; shorten the context or give more text"
            )


def _content_hash(corpus: Corpus, config: TokenizerConfig) -> str:
    """Hash what determines the result; names, paths and the number of workers do not."""
    settings = [config.vocab_size, config.pattern, END_OF_TEXT, UNICODE_VERSION]
    return short_hash([VERSION, corpus.content_hash, *settings])


def _train_tokenizer(
    corpus: Corpus, config: TokenizerConfig, folder: Path, *, reporter: Reporter
) -> None:
    with _training_progress(reporter) as progress, _forwarded_log("bpe", reporter):
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
    """Append end-of-text to every file that does not end with it."""
    paths = []
    for file in files:
        paths += [file.path] if file.ends_with_separator else [file.path, separator]
    return paths


def _tokenizer_notes(tokenizer: Tokenizer, config: TokenizerConfig) -> tuple[str, ...]:
    if tokenizer.vocab_size == config.vocab_size:
        return ()
    return (
        f"the training text has no more pairs to merge: the vocabulary has "
        f"{plural(tokenizer.vocab_size, 'token')} instead of {config.vocab_size:,}",
    )


@contextmanager
def _training_progress(reporter: Reporter) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a callback that shows each stage of BPE training; a new stage ends the previous one."""
    with ExitStack() as stack:
        current: dict[str, Stage] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in current:
                stack.close()
                current.clear()
                description, unit = _TRAINING_STAGES[name]
                stage = reporter.stage(description, total=total, unit=unit)
                current[name] = stack.enter_context(stage)
            current[name].update(done, total=total)

        yield show


@contextmanager
def _forwarded_log(name: str, reporter: Reporter) -> Iterator[None]:
    """Pass a library's warnings to the reporter, to keep them out of the progress display."""

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
