"""Which pairs of tokens become one token, and in which order?

Stage: pretoken counts -> *merges* -> vocabulary. In every step the pair that occurs most often
becomes a token; among equals the lexicographically greatest (bytes, bytes) pair does. Counts are
updated where a merge changes them, never taken anew. Two implementations, one result: a compiled
one for large work and a plain one for work that ends before a compiler would have started. Not
here: the slow twin that takes every count anew (`reference`).
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise

from bpe.counts import PretokenCounts

Pair = tuple[bytes, bytes]
Progress = Callable[[int, int], None]

_SMALL_BYTES = 1 << 17
"""Distinct pretokens with fewer bytes than this merge in plain Python."""


def learn_merges(
    counts: PretokenCounts, num_merges: int, *, progress: Progress | None = None
) -> list[Pair]:
    """Return the first `num_merges` merges, or fewer where nothing is left to merge.

    Args:
        counts: pretokens and how often they occur.
        num_merges: merges wanted.
        progress: called with the merges done and wanted; where nothing is left to merge, at last
            with the merges done, twice.

    Raises:
        ValueError: `num_merges` is negative, or the corpus exceeds 2^63 - 1 bytes.

    >>> learn_merges(PretokenCounts({b"low": 5, b"lower": 2}), 2)
    [(b'o', b'w'), (b'l', b'ow')]
    """
    if num_merges < 0:
        raise ValueError(f"num_merges is {num_merges}; ask for 0 or more")
    if counts.num_bytes > 2**63 - 1:
        raise ValueError(f"the corpus has {counts.num_bytes} bytes; pair counts end at 2**63 - 1")
    report = progress or (lambda done, total: None)
    distinct_bytes = sum(map(len, counts.by_pretoken))
    num_merges = min(num_merges, distinct_bytes)  # each takes a byte: no more can be found
    if distinct_bytes < _SMALL_BYTES:
        merge = merge_plainly
    else:
        from bpe._kernels.merging import merge_compiled as merge  # numba: only where it pays
    merges = merge(counts.by_pretoken, num_merges, progress=report)
    if len(merges) < num_merges:
        report(len(merges), len(merges))
    return merges


def merge_plainly(
    counts: Mapping[bytes, int], num_merges: int, *, progress: Progress
) -> list[Pair]:
    """Learn merges with dictionaries and a heap, in plain Python.

    A pair is pushed on the heap when its count rises and left there when it falls: what is popped
    with another count than the pair has now is dropped or put back.
    """
    state = _PairCounts(counts)
    merges: list[Pair] = []
    progress(0, num_merges)
    while len(merges) < num_merges and (pair := state.pop_most_frequent()) is not None:
        state.merge(pair)
        merges.append(pair)
        progress(len(merges), num_merges)
    return merges


class _PairCounts:
    """Words as lists of tokens, and for each pair its count and the words it occurs in."""

    def __init__(self, counts: Mapping[bytes, int]) -> None:
        self._words = [[bytes([byte]) for byte in pretoken] for pretoken in counts]
        self._weights = list(counts.values())
        self._counts: Counter[Pair] = Counter()
        self._words_with: defaultdict[Pair, set[int]] = defaultdict(set)
        for index, word in enumerate(self._words):
            self._add(word, index)
        self._heap = [(-count, _greatest_first(pair), pair) for pair, count in self._counts.items()]
        heapq.heapify(self._heap)

    def pop_most_frequent(self) -> Pair | None:
        """Return the next pair to merge; None where no pair is left."""
        while self._heap:
            negative_count, order, pair = heapq.heappop(self._heap)
            count = self._counts[pair]
            if count == -negative_count:
                return pair
            if count > 0:
                heapq.heappush(self._heap, (-count, order, pair))
        return None

    def merge(self, pair: Pair) -> None:
        """Make one token of every occurrence of `pair`, the leftmost first."""
        raised: set[Pair] = set()
        for index in self._words_with.pop(pair):
            old = self._words[index]
            new = merge_word(old, pair)
            for neighbours in pairwise(old):
                self._counts[neighbours] -= self._weights[index]
            raised |= self._add(new, index)
            self._words[index] = new
        del self._counts[pair]
        token = pair[0] + pair[1]
        for other in raised:
            if token in other:  # only pairs with the new token occur more often than before
                heapq.heappush(self._heap, (-self._counts[other], _greatest_first(other), other))

    def _add(self, word: list[bytes], index: int) -> set[Pair]:
        """Count the pairs of a word; return them."""
        pairs = list(pairwise(word))
        for pair in pairs:
            self._counts[pair] += self._weights[index]
            self._words_with[pair].add(index)
        return set(pairs)


def merge_word(word: list[bytes], pair: Pair) -> list[bytes]:
    """Return the word with every occurrence of `pair` joined, from the left.

    >>> merge_word([b"a", b"a", b"a", b"b"], (b"a", b"a"))
    [b'aa', b'a', b'b']
    """
    merged: list[bytes] = []
    position = 0
    while position < len(word):
        if tuple(word[position : position + 2]) == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(word[position])
            position += 1
    return merged


def _greatest_first(pair: Pair) -> tuple[tuple[int, ...], ...]:
    """Return a key that sorts the lexicographically greatest pair first.

    Bytes are negated, and a positive end mark puts a token behind those that it begins.
    """
    return tuple((*(-byte for byte in token), 1) for token in pair)
