"""Count the pretokens of a corpus.

Stage: files -> *pretoken counts* -> merges. Compiled threads count large corpora with a known
pattern, this process counts small ones, and child processes count the rest. The result is the same
whichever counts, in any order of the files and with any number of workers. Not here: where files
are cut (`pieces`), and adding counts up (`bpe.counts`).
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from bpe.counting.cpus import check_num_threads
from bpe.counting.pretoken_counter import PretokenCounter
from bpe.counting.threads import can_count, count_in_threads
from bpe.counting.workers import count_in_workers
from bpe.counts import PretokenCounts
from bpe.messages.arguments import as_paths, require, require_iterable, require_whole_number
from bpe.messages.plural import agree, plural
from bpe.packed_counts import CountSettings
from bpe.patterns import GPT2, PATTERNS, SCANNED, resolve_pattern, warn_of_slow_pattern
from bpe.pieces import PIECE_BYTES, Piece, cut_files
from bpe.special_tokens import check_special_tokens

_SMALL_BYTES = 2 << 20  # less text is counted before Numba would be imported
_SMALL_BYTES_FOR_WORKERS = 4 << 20  # less text is counted before a worker would have started
_BYTES_WORTH_COMPILING = 24 << 20
ROUND_PIECES = 64
"""Pieces between two prunings; fixed, so the number of workers does not affect the result."""

Progress = Callable[[int, int], None]
"""Called with the amount done and the total; bytes while counting, merges while merging."""

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

    Files are read in pieces of about a megabyte, cut where the pretokens on both sides are
    independent: at special tokens and, with the known patterns, before spaces. With any other
    pattern, the text between two special tokens must fit into memory.

    Args:
        paths: one file or several; no pretoken crosses the end of a file.
        special_tokens: strings that separate documents and are not counted; the longest wins.
        pattern: a name in `PATTERNS`, or regex source.
        num_workers: threads or processes; None: one per usable CPU.
        max_pretokens: distinct pretokens to keep, which bounds memory; None keeps all. The rarest
            beyond that are dropped at intervals and at the end, and `dropped` of the result counts
            them. A pretoken that is rare now may become frequent later, so the order of the files
            then matters; the number of workers still does not.
        progress: called in this thread with the bytes done and the total.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the files are empty, a byte is not UTF-8, or an argument is invalid.
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
    is_known = settings.pattern in PATTERNS.values()
    pieces = cut_files(files, settings.special_tokens, cut_at_spaces=is_known)
    if max_pretokens is None:
        return count(pieces, report)
    total = PretokenCounts(settings=settings)
    while some := list(islice(pieces, ROUND_PIECES)):
        total = (total + count(iter(some), report)).pruned(max_pretokens)
    if total.dropped.num_kinds:
        _log.warning("to keep %d kinds of pretokens, %s", max_pretokens, _describe(total))
    return total


def count_documents(
    documents: Iterable[str], special_tokens: Iterable[str] = (), *, pattern: str = GPT2
) -> PretokenCounts:
    """Count the pretokens of texts in memory, in this process; no pretoken crosses two texts.

    Raises:
        ValueError: a text contains a lone surrogate, or an argument is invalid.

    >>> count_documents(["low low<|end|>low"], ["<|end|>"]).by_pretoken
    {b'low': 2, b' low': 1}
    """
    require_iterable(documents, name="documents", needed="a list of texts, such as [text]")
    settings = CountSettings(resolve_pattern(pattern), check_special_tokens(special_tokens))
    counter = PretokenCounter(settings)
    for index, document in enumerate(documents):
        require(document, str, name=f"document {index}", needed="a str")
        try:
            document.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"document {index} contains a lone surrogate at index {error.start}, which has no "
                "UTF-8 bytes; remove or replace it"
            ) from error
        counter.add(document)
    return PretokenCounts(counter.by_pretoken(), settings)


_Way = Callable[[Iterator[Piece], Callable[[int], None]], PretokenCounts]


def _choose_way(settings: CountSettings, total_bytes: int, num_workers: int | None) -> _Way:
    """Return the fastest way to count pieces: threads, worker processes or this process."""
    num_workers = check_num_threads(num_workers, name="num_workers")
    if total_bytes >= _SMALL_BYTES and settings.pattern in SCANNED:
        is_worth_compiling = total_bytes >= _BYTES_WORTH_COMPILING
        if can_count(settings, is_worth_compiling=is_worth_compiling):
            num_threads = min(num_workers, -(-total_bytes // PIECE_BYTES))
            return lambda pieces, report: PretokenCounts.from_packed(
                count_in_threads(pieces, settings=settings, num_threads=num_threads, report=report),
                settings,
            )
    elif total_bytes >= _SMALL_BYTES:
        warn_of_slow_pattern(settings.pattern)
    num_workers = _choose_num_workers(num_workers, total_bytes)
    if num_workers > 1:
        return lambda pieces, report: PretokenCounts(
            count_in_workers(pieces, settings=settings, num_workers=num_workers, report=report),
            settings,
        )
    return lambda pieces, report: PretokenCounts(_count_here(pieces, settings, report), settings)


def _count_here(
    pieces: Iterator[Piece], settings: CountSettings, report: Callable[[int], None]
) -> dict[bytes, int]:
    counter = PretokenCounter(settings)
    for piece in pieces:
        counter.add(piece.read_text())
        report(piece.num_bytes)
    return counter.by_pretoken()


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


def _choose_num_workers(num_workers: int, total_bytes: int) -> int:
    """Return how many processes are worth starting."""
    if total_bytes < _SMALL_BYTES_FOR_WORKERS:
        return 1
    return min(num_workers, -(-total_bytes // PIECE_BYTES))


class _ByteProgress:
    def __init__(self, progress: Progress | None, total_bytes: int) -> None:
        self._progress, self._total_bytes, self._done_bytes = progress, total_bytes, 0
        self(0)

    def __call__(self, num_bytes: int) -> None:
        self._done_bytes += num_bytes
        if self._progress is not None:
            self._progress(self._done_bytes, self._total_bytes)
