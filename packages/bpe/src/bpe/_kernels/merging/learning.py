"""Learn merges in compiled code, with the result of `bpe.merges.merge_plainly`.

Stage: pretoken counts -> *merges*. Owns the arrays that the kernels work on, enlarges them
and turns the result into bytes. Not here: how merging works (`steps`).
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from bpe._kernels.memory import address_of, zeroed, zeros
from bpe._kernels.merging.state import (
    HEAP_BYTES,
    PAIR_BYTES,
    PLACE_BYTES,
    SLOT_BYTES,
    TALLY_BYTES,
    Neighbours,
    Pairs,
    Places,
    Progress,
    Symbols,
)
from bpe._kernels.merging.steps import DONE, NO_PAIRS_LEFT, fill_slots, find_pairs, lay_out, merge
from bpe.tie_breaking import CS336, HUGGINGFACE, SMALLEST_BYTES, alphabet

KERNELS = (lay_out, find_pairs, merge, fill_slots)
FIRST_CAPACITY = 1 << 16
"""Pairs that the table has room for before it grows."""
_MERGES_PER_CALL = 128  # between two reports of progress and chances for Ctrl-C
_PAIRS_PER_MERGE = 20  # the first threshold admits about this many pairs per merge
_FALL = 8  # divides the threshold when it proves too high
_SPARE_BYTES = 8  # after the text, so the last bytes can be loaded eight at a time


def merge_compiled(
    packed: tuple[np.ndarray, np.ndarray, np.ndarray],
    num_merges: int,
    *,
    progress: Callable[[int, int], None],
    tie_breaking: str = CS336,
    threshold: int | None = None,
) -> list[tuple[bytes, bytes]]:
    """Learn merges; see `bpe.merges.learn_merges`.

    Args:
        packed: the bytes of all pretokens, uint8; the length of each and how often it occurs,
            int64. All counts together must not exceed 2^63 - 1 bytes.
        num_merges: merges wanted.
        progress: called with the merges done and wanted.
        tie_breaking: name of a rule.
        threshold: pairs with smaller counts are left out at first; the result is the same.
    """
    merger = _Merger(packed, num_merges, tie_breaking=tie_breaking, threshold=threshold)
    for num_done in merger.run():
        progress(num_done, num_merges)
    return merger.merges()


class _Merger:
    def __init__(
        self,
        packed: tuple[np.ndarray, np.ndarray, np.ndarray],
        num_merges: int,
        *,
        tie_breaking: str,
        threshold: int | None,
    ) -> None:
        self._end_symbol = 256 + num_merges
        self._owned: list[np.ndarray] = []  # kept alive while their addresses are in use
        self._progress = np.zeros(len(Progress._fields), np.int64)
        self._text, self._places = self._lay_out(*packed)
        self._merges = self._own(zeros(num_merges + 1, np.int64))
        self._first = self._own(zeros(self._end_symbol, np.uint32))
        self._length = self._own(zeros(self._end_symbol, np.uint32))
        self._symbols = self._describe_bytes(tie_breaking)
        self._left, self._right = self._neighbours(), self._neighbours()
        if threshold is None:
            num_pretokens = int(packed[2][packed[1] > 1].sum(dtype=np.float64))
            threshold = num_pretokens // (_PAIRS_PER_MERGE * (num_merges + 1))
        self._find_pairs(num_symbols=256, threshold=max(threshold, 1), capacity=FIRST_CAPACITY)
        # Needs no room yet, but compiles the last kernel, so that merging never stops to compile.
        self._make_room(int(self._progress[1]), self._pairs.capacity)

    def run(self) -> Iterator[int]:
        """Merge, and yield now and then how many merges are done, at the end the total."""
        num_done = 0
        yield num_done
        while 256 + num_done < self._end_symbol:
            status = merge(
                min(256 + num_done + _MERGES_PER_CALL, self._end_symbol),
                self._places,
                self._symbols,
                self._pairs,
                self._left,
                self._right,
                address_of(self._progress),
            )
            num_symbols, num_pairs, *_, threshold = self._progress.tolist()
            if num_symbols > 256 + num_done:
                num_done = num_symbols - 256
                yield num_done
            if status == DONE:
                continue
            capacity = self._pairs.capacity
            if status != NO_PAIRS_LEFT:
                self._make_room(num_pairs, 2 * capacity)
            elif threshold > 1:
                self._find_pairs(
                    num_symbols=num_symbols, threshold=max(threshold // _FALL, 1), capacity=capacity
                )
            else:
                return

    def merges(self) -> list[tuple[bytes, bytes]]:
        num_symbols = int(self._progress[Progress._fields.index("num_symbols")])
        merges = self._merges[: num_symbols - 256]
        firsts = self._first[256:num_symbols].tolist()
        ends = (self._first[256:num_symbols] + self._length[256:num_symbols]).tolist()
        text = self._text.data
        with _collecting_no_garbage():
            tokens = [bytes([byte]) for byte in range(256)]
            tokens += [bytes(text[first:end]) for first, end in zip(firsts, ends, strict=True)]
            lefts, rights = (merges & 0xFFFFFFFF).tolist(), (merges >> 32).tolist()
            return [
                (tokens[left], tokens[right]) for left, right in zip(lefts, rights, strict=True)
            ]

    def _own(self, array: np.ndarray) -> np.ndarray:
        self._owned.append(array)
        return array

    def _lay_out(
        self, content: np.ndarray, lengths: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, Places]:
        content, lengths, counts = map(np.ascontiguousarray, (content, lengths, counts))
        is_long = lengths > 1
        num_places = int(lengths[is_long].sum()) + int(is_long.sum()) + 1
        if num_places > 2**31 - 1:
            raise ValueError(
                f"the distinct pretokens have {num_places} bytes and borders, but at most "
                "2**31 - 1 fit; count with max_pretokens"
            )
        place = self._own(zeroed(PLACE_BYTES * num_places))
        text = self._own(zeroed(num_places + _SPARE_BYTES))
        addresses = map(address_of, (content, lengths, self._own(counts)))
        lay_out(*addresses, len(lengths), address_of(place), address_of(text))
        # Each place begins at most one pair of neighbours, and each merge makes two more.
        occurrences = self._own(zeros(3 * num_places, np.uint32))
        records = self._own(zeros(num_places, np.int64))
        return text, Places(
            place=address_of(place),
            num_places=num_places,
            counts=address_of(counts),
            occurrences=address_of(occurrences),
            records=address_of(records),
        )

    def _describe_bytes(self, tie_breaking: str) -> Symbols:
        self._length[:256] = 1
        key = self._own(_tie_keys(tie_breaking, self._end_symbol))
        return Symbols(
            text=address_of(self._text),
            first=address_of(self._first),
            length=address_of(self._length),
            key=address_of(key),
            direction=-1 if tie_breaking == SMALLEST_BYTES else 1,
            merges=address_of(self._merges),
        )

    def _neighbours(self) -> Neighbours:
        tally = self._own(zeroed(TALLY_BYTES * self._end_symbol))
        touched = self._own(zeros(self._end_symbol, np.uint32))
        return Neighbours(tally=address_of(tally), touched=address_of(touched))

    def _find_pairs(self, *, num_symbols: int, threshold: int, capacity: int) -> None:
        """Fill an empty table of pairs, doubling it until it is large enough."""
        is_large_enough = False
        while not is_large_enough:
            self._pair_arrays, self._pairs = _empty_pairs(capacity)
            self._progress[:] = Progress(num_symbols, 0, 0, 0, threshold)
            is_large_enough = find_pairs(
                self._places,
                self._symbols,
                self._pairs,
                self._left,
                self._right,
                address_of(self._progress),
            )
            capacity *= 2

    def _make_room(self, num_pairs: int, capacity: int) -> None:
        old_pair, old_heap, _ = self._pair_arrays
        self._pair_arrays, self._pairs = _empty_pairs(capacity)
        pair, heap, _ = self._pair_arrays
        pair[: len(old_pair)], heap[: len(old_heap)] = old_pair, old_heap
        fill_slots(self._pairs, num_pairs)


def _empty_pairs(capacity: int) -> tuple[list[np.ndarray], Pairs]:
    num_slots = 1 << (2 * capacity - 1).bit_length()
    sizes = PAIR_BYTES * capacity, HEAP_BYTES * capacity, SLOT_BYTES * num_slots
    arrays = [zeroed(size)[:size] for size in sizes]
    pair, heap, slots = map(address_of, arrays)
    return arrays, Pairs(pair, heap, slots, SLOT_BYTES * (num_slots - 1), capacity)


def _tie_keys(tie_breaking: str, num_symbols: int) -> np.ndarray:
    """Return the keys of the bytes; of all symbols if the rule needs no bytes to compare them."""
    keys = np.zeros(num_symbols, np.int64)
    if tie_breaking == HUGGINGFACE:
        keys[:] = -1 - np.arange(num_symbols)
        for index, byte in enumerate(alphabet()):
            keys[byte[0]] = -1 - index
    else:
        keys[:256] = (np.arange(256) - 128) << 56
        if tie_breaking == SMALLEST_BYTES:
            keys[:256] = ~keys[:256]
    return keys


@contextmanager
def _collecting_no_garbage() -> Iterator[None]:
    """Keep Python from looking for cycles, which tuples of bytes never form: 60 ms each time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
