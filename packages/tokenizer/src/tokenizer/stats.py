"""Measure how well and how fast a tokenizer encodes, and estimate the cost of a large corpus.

Stage: beside encoding. Not here: benchmarks against other projects.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizer._bpe import check_num_threads
from tokenizer.files.encoding import BUSY_BYTES_PER_THREAD
from tokenizer.tokenizer import Tokenizer

PILE_BYTES = 825 * 10**9
"""The Pile (Gao et al. 2020, arXiv:2101.00027), usually quoted as 825 GB."""

_MIN_RUNS, _MAX_RUNS = 3, 25
_ENOUGH_SECONDS, _PLENTY_SECONDS = 1.0, 5.0  # with `_MIN_RUNS` or more, and with fewer


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The cost of encoding one text file to a token file."""

    num_bytes: int
    """UTF-8 bytes of text."""
    num_tokens: int
    seconds: float
    """Wall clock after the kernels were ready; the median of the runs."""
    num_threads: int = 1
    num_runs: int = 1
    start_seconds: float = 0.0
    """Time to load or compile the kernels, once per process."""

    @property
    def bytes_per_token(self) -> float:
        """Compression: more is better."""
        return self.num_bytes / self.num_tokens

    @property
    def bytes_per_second(self) -> float:
        """Throughput."""
        return self.num_bytes / self.seconds

    @property
    def busy_bytes(self) -> int:
        """Text needed to keep all threads busy; with less, the speed is lower."""
        return self.num_threads * BUSY_BYTES_PER_THREAD


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a corpus like the measured text would cost."""

    num_tokens: float
    seconds: float
    """With the measured number of threads, at the measured speed."""
    num_file_bytes: float
    """Of the token file."""


def measure(
    tokenizer: Tokenizer,
    path: Path,
    *,
    num_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """Time `Tokenizer.encode_file` on a file, repeatedly if one run is too short to trust.

    Every run uses a fresh tokenizer, since one that has seen a text encodes it faster. The token
    file is written to a temporary directory and removed.

    Raises:
        ValueError: the file is empty, or contains bytes that are not UTF-8.
    """
    num_threads = check_num_threads(num_threads, name="num_threads")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty or not a regular file; measure on a file with text")
    first = _run(tokenizer, path, num_threads=num_threads, progress=progress, clock=clock)
    runs = [first.seconds]
    while not _is_enough(runs):
        run = _run(tokenizer, path, num_threads=num_threads, progress=None, clock=clock)
        runs.append(run.seconds)
    return replace(first, seconds=statistics.median(runs), num_runs=len(runs))


def _run(
    tokenizer: Tokenizer,
    path: Path,
    *,
    num_threads: int,
    progress: Callable[[int, int], None] | None,
    clock: Callable[[], float],
) -> Measurement:
    fresh = Tokenizer.from_vocabulary(tokenizer.vocabulary)
    with TemporaryDirectory() as folder:
        target, begun = Path(folder, "ids.npy"), clock()
        fresh.warm_up()
        ready = clock()
        info = fresh.encode_file(path, target, num_threads=num_threads, progress=progress).info
        ended = clock()
    return Measurement(
        num_bytes=info.num_bytes,
        num_tokens=info.num_tokens,
        seconds=ended - ready,
        num_threads=num_threads if fresh.kernels_for(info.num_bytes) is not None else 1,
        start_seconds=ready - begun,
    )


def _is_enough(runs: list[float]) -> bool:
    """Whether the runs, in seconds, are long or many enough for a median."""
    needed = _ENOUGH_SECONDS if len(runs) >= _MIN_RUNS else _PLENTY_SECONDS
    return sum(runs) >= needed or len(runs) == _MAX_RUNS


def estimate(measurement: Measurement, *, corpus_bytes: int, bytes_per_id: int) -> Estimate:
    """Scale a measurement up to a corpus.

    >>> measured = Measurement(num_bytes=4_000, num_tokens=1_000, seconds=2.0)
    >>> estimate(measured, corpus_bytes=8_000, bytes_per_id=2)
    Estimate(num_tokens=2000.0, seconds=4.0, num_file_bytes=4000.0)
    """
    num_tokens = corpus_bytes / measurement.bytes_per_token
    return Estimate(
        num_tokens=num_tokens,
        seconds=corpus_bytes / measurement.bytes_per_second,
        num_file_bytes=num_tokens * bytes_per_id,
    )


def longest_tokens(tokenizer: Tokenizer, *, count: int) -> list[tuple[int, bytes]]:
    """Return the longest learned tokens, as id and bytes; among equals, the smallest ids.

    >>> vocab = {0: b"a", 1: b"b", 2: b"ab", 3: b"<|x|>"}
    >>> longest_tokens(Tokenizer(vocab, [(b"a", b"b")], ["<|x|>"]), count=2)
    [(2, b'ab'), (0, b'a')]
    """
    specials = set(tokenizer.special_tokens.values())
    learned = [item for item in tokenizer.vocabulary.tokens.items() if item[0] not in specials]
    return sorted(learned, key=lambda item: (-len(item[1]), item[0]))[:count]
