"""Turn the bytes of one pretoken into ids, in plain Python.

Stage: pretokens -> *ids*. The pair whose merge was learned first is merged first, wherever it is;
among equal pairs, the leftmost. `reference.merge` does the same in a few lines. Not here: where
pretokens end, and caching results.
"""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

from bpe.messages.excerpts import excerpt

_NO_ID, _NO_RANK = -1, 1 << 62
_LONG = 192  # symbols; from here on, the heap's n log n beats scanning a list in plain Python


class MergeTable:
    """The merges as ids, indexed by the pair that they join.

    Args:
        vocab: the bytes of each id; if several ids have the same bytes, the last one is used.
        merges: pairs of tokens in the order in which they were learned.

    Raises:
        ValueError: a merge is listed twice, or uses or makes a token that `vocab` lacks.

    >>> vocab = {0: b"a", 1: b"b", 2: b"ab"}
    >>> MergeTable(vocab, [(b"a", b"b")]).encode(b"aabb")
    [0, 2, 1]
    """

    def __init__(self, vocab: Mapping[int, bytes], merges: Sequence[tuple[bytes, bytes]]) -> None:
        token_ids = {token: token_id for token_id, token in vocab.items()}
        self._byte_ids = [token_ids.get(bytes([byte]), _NO_ID) for byte in range(256)]
        try:
            pairs = [(token_ids[left], token_ids[right]) for left, right in merges]
            self._merged_ids = [token_ids[left + right] for left, right in merges]
        except KeyError as error:
            raise ValueError(
                f"merge {_rank_of(error.args[0], merges)} needs the token "
                f"{excerpt(error.args[0])}, which the vocabulary lacks; vocabulary and merges must "
                "come from one training"
            ) from None
        self._ranks = dict(zip(pairs, range(len(pairs)), strict=True))
        if len(self._ranks) < len(pairs):
            rank = next(rank for rank, pair in enumerate(pairs) if pair in pairs[:rank])
            raise ValueError(
                f"merge {rank} ({', '.join(map(excerpt, merges[rank]))}) repeats merge "
                f"{pairs.index(pairs[rank])}; list each pair only once"
            )

    def encode(self, data: bytes) -> list[int]:
        """Return the ids of one pretoken."""
        ids = self.byte_ids(data)
        return self._merge_short(ids) if len(ids) < _LONG else self._merge_long(ids)

    def byte_ids(self, data: bytes) -> list[int]:
        """Return the ids of single bytes, without merging.

        Raises:
            ValueError: a byte for which the vocabulary has no token.
        """
        ids = [self._byte_ids[byte] for byte in data]
        if _NO_ID in ids:
            byte = data[ids.index(_NO_ID)]
            shown = data if len(data) <= 40 else data[:40] + b"..."
            raise ValueError(
                f"the vocabulary has no token for byte 0x{byte:02x} ({bytes([byte])!r}), which "
                f"occurs in {shown!r}; use a vocabulary with all 256 bytes"
            )
        return ids

    def _merge_short(self, ids: list[int]) -> list[int]:
        """Merge in place; each step scans the whole list, in C."""
        get = self._ranks.get
        ranks = [get(pair, _NO_RANK) for pair in pairwise(ids)]
        while ranks and (best := min(ranks)) != _NO_RANK:
            place = ranks.index(best)
            ids[place : place + 2] = [self._merged_ids[best]]
            del ranks[place]
            if place < len(ranks):
                ranks[place] = get((ids[place], ids[place + 1]), _NO_RANK)
            if place:
                ranks[place - 1] = get((ids[place - 1], ids[place]), _NO_RANK)
        return ids

    def _merge_long(self, ids: list[int]) -> list[int]:
        """Merge in O(n log n) with a linked list of symbols and a heap of (rank, place).

        A heap entry is valid as long as `ranks[place]` is still its rank; entries of pairs that
        have changed since are skipped when they are popped.
        """
        size = len(ids)
        get = self._ranks.get
        following = list(range(1, size + 1))
        preceding = list(range(-1, size - 1))
        ranks = [get(pair, _NO_RANK) for pair in pairwise(ids)]
        ranks.append(_NO_RANK)
        heap = [rank * size + place for place, rank in enumerate(ranks) if rank != _NO_RANK]
        heapify(heap)

        def rank_again(left: int, right: int) -> None:
            rank = get((ids[left], ids[right]), _NO_RANK)
            ranks[left] = rank
            if rank != _NO_RANK:
                heappush(heap, rank * size + left)

        while heap:
            rank, left = divmod(heappop(heap), size)
            if ranks[left] != rank:
                continue
            right = following[left]
            after = following[left] = following[right]
            ids[left] = self._merged_ids[rank]
            ranks[left] = ranks[right] = _NO_RANK
            if after < size:
                preceding[after] = left
                rank_again(left, after)
            if left > 0:
                rank_again(preceding[left], left)
        return _walk(ids, following)


def _rank_of(token: bytes, merges: Sequence[tuple[bytes, bytes]]) -> str:
    for rank, (left, right) in enumerate(merges):
        if token in (left, right, left + right):
            return f"{rank} ({excerpt(left)}, {excerpt(right)})"
    raise AssertionError(f"no merge involves {excerpt(token)}")


def _walk(ids: list[int], following: list[int]) -> list[int]:
    merged = []
    place = 0
    while place < len(ids):
        merged.append(ids[place])
        place = following[place]
    return merged
