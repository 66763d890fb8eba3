"""Hold pretokens and their counts in a few arrays.

Stage: files -> *pretoken counts* -> merges. A corpus has millions of distinct pretokens, too many
for Python objects. Not here: adding counts up (`counts`), and files (`formats.counts_file`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bpe.messages.arguments import require, require_iterable
from bpe.unicode_classes import UNICODE_VERSION


@dataclass(frozen=True)
class CountSettings:
    """What decides the pretokens of a text; counts add up only if all of it is the same.

    Attributes:
        pattern: regex source of the split pattern.
        special_tokens: strings that separate documents, in the order of their ids.
        unicode_version: of the character classes.
    """

    pattern: str
    special_tokens: tuple[str, ...] = ()
    unicode_version: str = UNICODE_VERSION

    def __post_init__(self) -> None:
        require(self.pattern, str, name="pattern", needed="a regex as str")
        needed = "a tuple of strings"
        require_iterable(self.special_tokens, name="special_tokens", needed=needed)
        for special in self.special_tokens:
            require(special, str, name="a special token", needed="a str")


class Packed(NamedTuple):
    """Distinct pretokens, stored one after another."""

    content: np.ndarray  # (sum of lengths,) uint8
    lengths: np.ndarray  # (n,) int64, 1 or more
    counts: np.ndarray  # (n,) int64, 1 or more


class Dropped(NamedTuple):
    """What a limit on the distinct pretokens has cost."""

    num_kinds: int = 0
    """Distinct pretokens; one that reappears and is dropped again counts again."""
    num_pretokens: int = 0
    """Occurrences missing from the counts."""


def pretokens_of(packed: Packed) -> list[bytes]:
    """Return the pretokens in their order."""
    content = packed.content.tobytes()
    ends = np.cumsum(packed.lengths)
    starts = (ends - packed.lengths).tolist()
    return [content[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]


def select(packed: Packed, kinds: Iterable[int]) -> Packed:
    """Return some of the pretokens, in the given order."""
    kinds = np.asarray(kinds, np.int64)
    lengths = packed.lengths[kinds]
    starts = (np.cumsum(packed.lengths) - packed.lengths)[kinds]
    # For each byte: its offset within its pretoken, plus where that pretoken begins.
    new_starts = np.cumsum(lengths) - lengths
    sources = np.arange(int(lengths.sum())) + np.repeat(starts - new_starts, lengths)
    return Packed(packed.content[sources], lengths, packed.counts[kinds])


def most_frequent(packed: Packed, num_kinds: int) -> np.ndarray:
    """Return the indices of the most frequent pretokens, ascending; see `PretokenCounts.pruned`."""
    lengths, counts = packed.lengths, packed.counts
    order = np.lexsort((lengths, -counts))[:num_kinds]
    last = order[-1]
    is_tied = (counts == counts[last]) & (lengths == lengths[last])
    tied = np.flatnonzero(is_tied)
    pretokens = pretokens_of(select(packed, tied))
    by_bytes = sorted(range(len(tied)), key=pretokens.__getitem__)
    ahead = order[~is_tied[order]]
    return np.sort(np.concatenate([ahead, tied[by_bytes[: num_kinds - len(ahead)]]]))


def exact_dot(one: np.ndarray, other: np.ndarray) -> int:
    """Return the dot product without overflow."""
    if np.multiply(one, other, dtype=np.float64).sum() < 2.0**62:
        return int((one * other).sum())
    return sum(a * b for a, b in zip(one.tolist(), other.tolist(), strict=True))
