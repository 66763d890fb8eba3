"""How well does a tokenizer compress, how fast is it, and what would a large corpus take?

Stage: beside encoding. Not here: benchmarks against other projects.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tokenizer.stream import read_text_blocks
from tokenizer.tokenizer import Tokenizer

PILE_BYTES = 825 * 10**9
"""The Pile (Gao et al. 2020, arXiv:2101.00027), as its 825 GB are usually quoted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What encoding one text took, from bytes on disk to ids in memory."""

    num_bytes: int
    """UTF-8 bytes of text."""
    num_tokens: int
    seconds: float
    """Wall clock."""

    @property
    def bytes_per_token(self) -> float:
        """Compression: more is better."""
        return self.num_bytes / self.num_tokens

    @property
    def bytes_per_second(self) -> float:
        """Throughput."""
        return self.num_bytes / self.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a corpus like the measured text would take."""

    num_tokens: float
    seconds: float
    """On one process as fast as the measured one."""
    num_file_bytes: float
    """Of the token file."""


def measure(
    tokenizer: Tokenizer, path: Path, *, progress: Callable[[int, int], None] | None = None
) -> Measurement:
    """Encode a UTF-8 file and keep nothing but the figures.

    Raises:
        ValueError: the file is empty, or holds bytes that are no UTF-8.
    """
    total = path.stat().st_size
    if not total:
        raise ValueError(f"{path} is empty or no regular file; measure on a file with text")
    num_bytes = num_tokens = 0
    encoder = tokenizer.encoder()
    started = time.perf_counter()
    with path.open("rb") as file:
        for text, num_read in read_text_blocks(file, name=path):
            ids = encoder.push(text) if num_read else encoder.finish()
            num_tokens += sum(1 for _ in ids)
            num_bytes += num_read
            if progress is not None:
                progress(num_bytes, total)
    seconds = time.perf_counter() - started
    return Measurement(num_bytes=num_bytes, num_tokens=num_tokens, seconds=seconds)


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
    """Return the longest tokens that were learnt, as id and bytes; of equal length the first.

    >>> vocab = {0: b"a", 1: b"b", 2: b"ab", 3: b"<|x|>"}
    >>> longest_tokens(Tokenizer(vocab, [(b"a", b"b")], ["<|x|>"]), count=2)
    [(2, b'ab'), (0, b'a')]
    """
    specials = set(tokenizer.special_tokens.values())
    learnt = [item for item in tokenizer.vocabulary.tokens.items() if item[0] not in specials]
    return sorted(learnt, key=lambda item: (-len(item[1]), item[0]))[:count]
