"""Learn which pairs of tokens merge, and in which order.

Stage: pretoken counts -> *merges* -> vocabulary. Every step merges the most frequent pair; a named
rule decides ties (`tie_breaking`). Counts are updated where a merge changes them, never
recomputed. Two implementations give one result: compiled for large work, plain Python for work
that ends before a compiler would have started. Not here: the slow twin that recounts everything
(`reference`).
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise

from bpe.counts import MAX_COUNT, PretokenCounts
from bpe.messages.arguments import require, require_whole_number
from bpe.tie_breaking import CS336, Pair, check_tie_breaking, pair_order

Progress = Callable[[int, int], None]

# Costs of plain Python, measured on Python source; of importing Numba and loading cached kernels;
# and of compiling them.
_SECONDS_PER_BYTE, _SECONDS_PER_MERGE = 2e-5, 2e-4
_LOADING_SECONDS, _COMPILING_SECONDS = 0.6, 6.0


def learn_merges(
    counts: PretokenCounts,
    num_merges: int,
    *,
    tie_breaking: str = CS336,
    progress: Progress | None = None,
) -> list[Pair]:
    """Return the first `num_merges` merges, or fewer if nothing is left to merge.

    Args:
        counts: pretokens and how often they occur.
        num_merges: merges wanted.
        tie_breaking: which of equally frequent pairs merges first; a name in `TIE_BREAKING`.
        progress: called with the merges done and wanted; if nothing is left to merge, the last
            call has the merges done as both.

    Raises:
        ValueError: `num_merges` is negative, the corpus exceeds 2^63 - 1 bytes, or there is no
            such rule.

    >>> learn_merges(PretokenCounts({b"low": 5, b"lower": 2}), 2)
    [(b'o', b'w'), (b'l', b'ow')]
    """
    require(counts, PretokenCounts, name="counts", needed="PretokenCounts")
    require_whole_number(num_merges, name="num_merges")
    if num_merges < 0:
        raise ValueError(f"num_merges is {num_merges}; ask for 0 or more")
    check_tie_breaking(tie_breaking)
    if counts.num_bytes > MAX_COUNT:
        raise ValueError(
            f"the corpus has {counts.num_bytes} bytes, but pair counts end at 2**63 - 1; "
            "count less text"
        )
    report = progress or (lambda done, total: None)
    # Each merge shortens some pretoken by one token: there cannot be more merges than bytes.
    num_merges = min(num_merges, len(counts.packed.content))
    merges = _merge(counts, num_merges, tie_breaking=tie_breaking, progress=report)
    if len(merges) < num_merges:
        report(len(merges), len(merges))
    return merges


def _merge(
    counts: PretokenCounts, num_merges: int, *, tie_breaking: str, progress: Progress
) -> list[Pair]:
    options = {"tie_breaking": tie_breaking, "progress": progress}
    seconds = _SECONDS_PER_BYTE * len(counts.packed.content) + _SECONDS_PER_MERGE * num_merges
    if seconds > _LOADING_SECONDS:
        progress(0, num_merges)  # loading takes a while, and is part of the stage
        from bpe._kernels.presence import can_compile  # importing numba is slow

        if can_compile():
            from bpe._kernels.compiling import are_ready
            from bpe._kernels.merging.learning import KERNELS

            if seconds > _COMPILING_SECONDS or are_ready(*KERNELS):
                return merge_compiled(counts, num_merges, **options)
    return merge_plainly(counts.by_pretoken, num_merges, **options)


def merge_compiled(
    counts: PretokenCounts, num_merges: int, *, progress: Progress, tie_breaking: str = CS336
) -> list[Pair]:
    """Learn merges with the kernels, however little work it is; `learn_merges` chooses.

    >>> merge_compiled(PretokenCounts({b"low": 5}), 1, progress=lambda done, total: None)
    [(b'o', b'w')]
    """
    from bpe._kernels.compiling import announced
    from bpe._kernels.merging import learning as merging

    options = {"progress": progress, "tie_breaking": tie_breaking}
    with announced("merging", *merging.KERNELS):
        return merging.merge_compiled(counts.packed, num_merges, **options)


def merge_plainly(
    counts: Mapping[bytes, int], num_merges: int, *, progress: Progress, tie_breaking: str = CS336
) -> list[Pair]:
    """Learn merges with dictionaries and a heap, in plain Python.

    A pair is pushed on the heap when its count rises and stays there when it falls: a popped entry
    with an outdated count is dropped or pushed back.
    """
    state = _PairCounts(counts, tie_breaking)
    merges: list[Pair] = []
    progress(0, num_merges)
    while len(merges) < num_merges and (pair := state.pop_most_frequent()) is not None:
        state.merge(pair)
        merges.append(pair)
        progress(len(merges), num_merges)
    return merges


class _PairCounts:
    """Words as lists of tokens, and for each pair its count and the words that contain it."""

    def __init__(self, counts: Mapping[bytes, int], tie_breaking: str) -> None:
        self._order, self._learn = pair_order(tie_breaking)
        self._words = [[bytes([byte]) for byte in pretoken] for pretoken in counts]
        self._weights = list(counts.values())
        self._counts: Counter[Pair] = Counter()
        self._words_with: defaultdict[Pair, set[int]] = defaultdict(set)
        for index, word in enumerate(self._words):
            self._add(word, index)
        self._heap = [(-count, self._order(pair), pair) for pair, count in self._counts.items()]
        heapq.heapify(self._heap)

    def pop_most_frequent(self) -> Pair | None:
        """Return the next pair to merge; None if no pair is left."""
        while self._heap:
            negative_count, order, pair = heapq.heappop(self._heap)
            count = self._counts[pair]
            if count == -negative_count:
                return pair
            if count > 0:
                heapq.heappush(self._heap, (-count, order, pair))
        return None

    def merge(self, pair: Pair) -> None:
        """Replace every occurrence of `pair` by one token, from left to right."""
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
        self._learn(token)
        for other in raised:
            if token in other:  # only pairs with the new token have gained occurrences
                heapq.heappush(self._heap, (-self._counts[other], self._order(other), other))

    def _add(self, word: list[bytes], index: int) -> set[Pair]:
        pairs = list(pairwise(word))
        for pair in pairs:
            self._counts[pair] += self._weights[index]
            self._words_with[pair].add(index)
        return set(pairs)


def merge_word(word: list[bytes], pair: Pair) -> list[bytes]:
    """Return the word with every occurrence of `pair` joined, from left to right.

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
