"""How often does each pretoken occur?

Stage: files -> *pretoken counts* -> merges. Counts of parts add up to the counts of the whole, so
neither the order of files nor the number of workers shows in the result. Not here: where files
are cut (`pieces`) and the worker processes (`workers`).
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bpe.patterns import GPT2, PATTERNS, resolve_pattern
from bpe.pieces import PIECE_BYTES, cut_files
from bpe.pretoken_counter import PretokenCounter
from bpe.special_tokens import check_special_tokens
from bpe.workers import count_in_workers

_SMALL_BYTES = 4 << 20  # less text is counted sooner than a worker process starts and reports

Progress = Callable[[int, int], None]
"""Called with the amounts done and in all; bytes while counting, merges while merging."""


@dataclass(frozen=True)
class PretokenCounts:
    """Occurrences of each pretoken; Python integers, so that no corpus overflows them.

    Counts of several corpora add up: `a + b` counts both.

    >>> a = PretokenCounts({b"low": 2}) + PretokenCounts({b"low": 1, b"er": 1})
    >>> a.by_pretoken[b"low"], a.num_pretokens
    (3, 4)
    """

    by_pretoken: Mapping[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for pretoken, count in self.by_pretoken.items():
            if not pretoken or count < 1:
                raise ValueError(
                    f"pretoken {pretoken!r} occurs {count} times; pass non-empty bytes that occur"
                )

    def __add__(self, other: "PretokenCounts") -> "PretokenCounts":
        total = Counter(self.by_pretoken)
        total.update(other.by_pretoken)
        return PretokenCounts(total)

    def __len__(self) -> int:
        return len(self.by_pretoken)

    @property
    def num_pretokens(self) -> int:
        """Occurrences of all pretokens together."""
        return sum(self.by_pretoken.values())

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the counted text, special tokens left out."""
        return sum(len(pretoken) * count for pretoken, count in self.by_pretoken.items())


def count_pretokens(
    paths: str | Path | Iterable[str | Path],
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = GPT2,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> PretokenCounts:
    """Count the pretokens of UTF-8 text files.

    Files are read in pieces of about a megabyte, cut where the pretokens on both sides cannot
    depend on each other: at special tokens and, with the known patterns, in front of spaces. With
    any other pattern the text between two special tokens has to fit into memory.

    Args:
        paths: one file or several; each ends a pretoken.
        special_tokens: strings that separate documents and are not counted; longest wins.
        pattern: a name in `PATTERNS`, or regex source.
        num_workers: processes; None for one a CPU. A few megabytes are counted in this process.
        progress: called in this thread with the bytes done and in all.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the files are empty, a byte is not UTF-8, or an argument makes no sense.
    """
    settings = {
        "special_tokens": check_special_tokens(special_tokens),
        "pattern": resolve_pattern(pattern),
    }
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    total_bytes = _total_bytes(files)
    num_workers = _choose_num_workers(num_workers, total_bytes)
    report = _ByteProgress(progress, total_bytes)
    pieces = cut_files(
        files,
        settings["special_tokens"],
        cut_at_spaces=settings["pattern"] in PATTERNS.values(),
    )
    if num_workers > 1:
        return PretokenCounts(
            count_in_workers(pieces, settings=settings, num_workers=num_workers, report=report)
        )
    counter = PretokenCounter(**settings)
    for piece in pieces:
        counter.add(piece.read_text())
        report(piece.num_bytes)
    return PretokenCounts(counter.by_pretoken())


def count_documents(
    documents: Iterable[str],
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = GPT2,
) -> PretokenCounts:
    """Count the pretokens of texts in memory, in this process; the end of a text ends a pretoken.

    Raises:
        ValueError: a text holds a lone surrogate, or an argument makes no sense.

    >>> count_documents(["low low<|end|>low"], ["<|end|>"]).by_pretoken
    {b'low': 2, b' low': 1}
    """
    counter = PretokenCounter(
        special_tokens=check_special_tokens(special_tokens), pattern=resolve_pattern(pattern)
    )
    for index, document in enumerate(documents):
        try:
            document.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"document {index} holds a lone surrogate at index {error.start}, which has no "
                "UTF-8 bytes; remove or replace it"
            ) from error
        counter.add(document)
    return PretokenCounts(counter.by_pretoken())


def _total_bytes(files: list[Path]) -> int:
    total = 0
    for file in files:
        if file.is_dir():
            raise IsADirectoryError(f"{file} is a directory; name the text files in it")
        total += file.stat().st_size
        if not file.is_file():
            raise ValueError(
                f"{file} is a pipe or a device, but workers read files in pieces; save it as a file"
            )
    if not total:
        named = ", ".join(map(str, files)) or "no file"
        raise ValueError(f"the corpus is empty ({named}); name a file with text in it")
    return total


def _choose_num_workers(num_workers: int | None, total_bytes: int) -> int:
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"num_workers is {num_workers}; use 1 or more, or None for one a CPU")
    if total_bytes < _SMALL_BYTES:
        return 1
    return min(num_workers or os.cpu_count() or 1, -(-total_bytes // PIECE_BYTES))


class _ByteProgress:
    """Adds up bytes as they are done and passes the sum on."""

    def __init__(self, progress: Progress | None, total_bytes: int) -> None:
        self._progress, self._total_bytes, self._done_bytes = progress, total_bytes, 0
        self(0)

    def __call__(self, num_bytes: int) -> None:
        self._done_bytes += num_bytes
        if self._progress is not None:
            self._progress(self._done_bytes, self._total_bytes)
