"""How are the pretokens of a corpus counted?

Stage: files -> *pretoken counts* -> merges. Compiled threads count large corpora with a known
pattern; this process counts small ones, and child processes what lies between or has another
pattern. Neither that nor the order of files nor the number of workers shows in the result. Not
here: where files are cut (`pieces`), and what counts are (`pretoken_counts`).
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path

from bpe.counting.cpus import usable_cpus
from bpe.counting.pretoken_counter import PretokenCounter
from bpe.counting.threads import can_count, count_in_threads
from bpe.counting.workers import count_in_workers
from bpe.counts import PretokenCounts
from bpe.messages.arguments import as_paths, require, require_iterable, require_whole_number
from bpe.messages.plural import agree, plural
from bpe.packed_counts import CountSettings
from bpe.patterns import GPT2, PATTERNS, resolve_pattern
from bpe.pieces import PIECE_BYTES, Piece, cut_files
from bpe.special_tokens import check_special_tokens

__all__ = ["PretokenCounts", "count_documents", "count_pretokens"]

_SMALL_BYTES = 2 << 20  # less text is counted sooner than Numba is imported
_SMALL_BYTES_FOR_WORKERS = 4 << 20  # ... than a worker process starts and reports
_BYTES_WORTH_COMPILING = 24 << 20
ROUND_PIECES = 64
"""Pieces between two prunings; a fixed number, so that workers do not show in the result."""

Progress = Callable[[int, int], None]
"""Called with the amounts done and in all; bytes while counting, merges while merging."""

_log = logging.getLogger("bpe")


def count_pretokens(
    paths: str | Path | Iterable[str | Path],
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = GPT2,
    num_workers: int | None = None,
    max_pretokens: int | None = None,
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
        num_workers: threads or processes; None for one per usable CPU.
        max_pretokens: kinds of pretokens to keep, which bounds memory; None keeps all. Now and
            then, and in the end, the rarest beyond that are dropped, and `dropped` of the result
            says how many. What is rare then may become frequent later, so the order of files
            then matters, but the number of workers still does not.
        progress: called in this thread with the bytes done and in all.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the files are empty, a byte is not UTF-8, or an argument makes no sense.
    """
    settings = CountSettings(resolve_pattern(pattern), check_special_tokens(special_tokens))
    if max_pretokens is not None:
        require_whole_number(max_pretokens, name="max_pretokens")
    if max_pretokens is not None and max_pretokens < 1:
        raise ValueError(f"max_pretokens is {max_pretokens}; keep 1 or more, or None for all")
    files = as_paths(paths, name="paths")
    total_bytes = _total_bytes(files)
    count = _choose_way(settings, total_bytes, num_workers)
    report = _ByteProgress(progress, total_bytes)
    pieces = cut_files(
        files, settings.special_tokens, cut_at_spaces=settings.pattern in PATTERNS.values()
    )
    if max_pretokens is None:
        return count(pieces, report)
    total = PretokenCounts(settings=settings)
    while some := list(islice(pieces, ROUND_PIECES)):
        total = (total + count(iter(some), report)).pruned(max_pretokens)
    if total.dropped.num_kinds:
        _log.warning("to keep %d kinds of pretokens, %s", max_pretokens, _describe(total))
    return total


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
    require_iterable(documents, name="documents", needed="a list of texts, such as [text]")
    settings = CountSettings(resolve_pattern(pattern), check_special_tokens(special_tokens))
    counter = PretokenCounter(special_tokens=settings.special_tokens, pattern=settings.pattern)
    for index, document in enumerate(documents):
        require(document, str, name=f"document {index}", needed="a str")
        try:
            document.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"document {index} holds a lone surrogate at index {error.start}, which has no "
                "UTF-8 bytes; remove or replace it"
            ) from error
        counter.add(document)
    return PretokenCounts(counter.by_pretoken(), settings)


_Way = Callable[[Iterator[Piece], Callable[[int], None]], PretokenCounts]


def _choose_way(settings: CountSettings, total_bytes: int, num_workers: int | None) -> _Way:
    """Return what counts pieces soonest: threads, worker processes or this process."""
    num_workers = _check_num_workers(num_workers)
    if total_bytes >= _SMALL_BYTES and settings.pattern in PATTERNS.values():
        is_worth_compiling = total_bytes >= _BYTES_WORTH_COMPILING
        if can_count(settings, is_worth_compiling=is_worth_compiling):
            num_threads = min(num_workers, -(-total_bytes // PIECE_BYTES))
            return lambda pieces, report: PretokenCounts.from_packed(
                count_in_threads(pieces, settings=settings, num_threads=num_threads, report=report),
                settings,
            )
    elif total_bytes >= _SMALL_BYTES:
        _say_that_regex_is_slower(settings.pattern)
    options = {"special_tokens": settings.special_tokens, "pattern": settings.pattern}
    num_workers = _choose_num_workers(num_workers, total_bytes)
    if num_workers > 1:
        return lambda pieces, report: PretokenCounts(
            count_in_workers(pieces, settings=options, num_workers=num_workers, report=report),
            settings,
        )
    return lambda pieces, report: PretokenCounts(_count_here(pieces, options, report), settings)


def _count_here(
    pieces: Iterator[Piece], options: dict[str, object], report: Callable[[int], None]
) -> dict[bytes, int]:
    counter = PretokenCounter(**options)
    for piece in pieces:
        counter.add(piece.read_text())
        report(piece.num_bytes)
    return counter.by_pretoken()


@cache
def _say_that_regex_is_slower(pattern: str) -> None:
    _log.warning(
        "counting with the regex module, some ten times slower than with the patterns %s, "
        "because it has to find the pretokens of %r",
        ", ".join(PATTERNS),
        pattern,
    )


def _describe(counts: PretokenCounts) -> str:
    dropped, kept = counts.dropped, counts.num_pretokens
    share = dropped.num_pretokens / (dropped.num_pretokens + kept)
    was = agree(dropped.num_kinds, "was", "were")
    occurrences = plural(dropped.num_pretokens, "occurrence")
    return f"{dropped.num_kinds} {was} dropped, with {occurrences} ({share:.2%} of all)"


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


def _check_num_workers(num_workers: int | None) -> int:
    if num_workers is not None:
        require_whole_number(num_workers, name="num_workers")
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"num_workers is {num_workers}; use 1 or more, or None for one per CPU")
    return num_workers or usable_cpus()


def _choose_num_workers(num_workers: int, total_bytes: int) -> int:
    """Return how many processes are worth their start."""
    if total_bytes < _SMALL_BYTES_FOR_WORKERS:
        return 1
    return min(num_workers, -(-total_bytes // PIECE_BYTES))


class _ByteProgress:
    """Adds up bytes as they are done and passes the sum on."""

    def __init__(self, progress: Progress | None, total_bytes: int) -> None:
        self._progress, self._total_bytes, self._done_bytes = progress, total_bytes, 0
        self(0)

    def __call__(self, num_bytes: int) -> None:
        self._done_bytes += num_bytes
        if self._progress is not None:
            self._progress(self._done_bytes, self._total_bytes)
