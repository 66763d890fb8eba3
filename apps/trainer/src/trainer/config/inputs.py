"""Configure the text that a run trains on, and its tokenizer.

Stage: sections of a run's configuration. Not here: the other sections (`run_config.py`).
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bpe import resolve_pattern
from trainer.config.datasets import dataset_names
from trainer.config.field_checks import require_kinds, require_positive, require_range
from trainer.config.resumable import BESIDE

END_OF_TEXT = "<|endoftext|>"
SMALLEST_VOCABULARY = 257
"""The bytes and end-of-text."""

if TYPE_CHECKING:
    Source = str
else:
    Source = Literal["stdlib", *dataset_names(), "files"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusConfig:
    """The text to train and validate on."""

    source: Source
    """stdlib: Python's own source, offline; files: your own; others: downloaded datasets."""
    train: tuple[Path, ...] = field(default=(), metadata=BESIDE)
    """UTF-8 text files to train on; naming any sets the source to `files`."""
    validation: tuple[Path, ...] = field(default=(), metadata=BESIDE)
    """UTF-8 text files to validate on; none: some training documents are held out."""
    validation_fraction: float = 0.05
    """Share of bytes held out if no validation file is given, in (0, 1); whole documents."""
    cache_dir: Path = field(default=Path("data"), metadata=BESIDE)
    """Folder of downloads and prepared data (tokenizer, token files), which are reused."""
    mirror: str | None = field(default=None, metadata=BESIDE)
    """Base URL to download a public dataset from instead of its own; same file names."""

    def __post_init__(self) -> None:
        """Refuse contradictions between source and files; strings become paths."""
        for name in ("train", "validation"):
            paths = getattr(self, name)
            if isinstance(paths, list | tuple):
                object.__setattr__(self, name, tuple(map(_as_path, paths)))
        object.__setattr__(self, "cache_dir", _as_path(self.cache_dir))
        require_kinds("corpus", self)
        require_range("corpus", self, "(0, 1)", "validation_fraction")
        if self.validation and not self.train:
            raise ValueError(
                "corpus.validation names files but corpus.train does not; name both or neither"
            )
        if self.source == "files" and not self.train:
            raise ValueError(
                "corpus.source is files, but corpus.train names none; name at least one file"
            )
        if self.source != "files" and self.train:
            raise ValueError(
                f"corpus.source is {self.source!r}, but corpus.train names files; "
                "use --corpus.source files or drop corpus.train"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerConfig:
    """The byte-level BPE tokenizer trained on the training text."""

    vocab_size: int
    """Number of tokens: end-of-text, 256 bytes and the merges."""
    pattern: str = "gpt2"
    """Split pattern: a name that the help's first lines list, or any `regex` source."""
    num_workers: int | None = field(default=None, metadata=BESIDE)
    """Threads or processes that count and encode; None: one per CPU. Does not change the result."""

    def __post_init__(self) -> None:
        """Refuse a vocabulary that cannot hold the bytes, and a pattern that does not compile."""
        require_kinds("tokenizer", self)
        if self.vocab_size < SMALLEST_VOCABULARY:
            raise ValueError(
                f"tokenizer.vocab-size is {self.vocab_size}, but 256 bytes and {END_OF_TEXT} "
                f"need {SMALLEST_VOCABULARY}; raise it"
            )
        require_positive("tokenizer", self, "num_workers")
        try:
            resolve_pattern(self.pattern)
        except ValueError as error:
            raise ValueError(f"tokenizer.pattern: {error}") from error


def _as_path(path: object) -> object:
    return Path(path) if isinstance(path, str | os.PathLike) else path
