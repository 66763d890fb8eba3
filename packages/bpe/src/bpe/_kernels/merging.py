"""Compiled merging: the same result as `bpe.merges.merge_plainly`, for large work.

Stage: pretoken counts -> *merges*. Every byte of every distinct pretoken is a place; a place holds
a symbol and links to the neighbouring places of its pretoken. Each pair of neighbours that has
ever occurred is a row of the pair table and heads a doubly linked list of its left places.

Two facts carry the design. All occurrences of a pair are born in one step, the one in which the
younger of its symbols is made: the counts of older pairs only fall, and a row goes to the heap
once, when its count is complete. And places are walked in ascending order, so every list ascends
and its head is always the leftmost occurrence: `aaa` becomes `aa a`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numba import njit

NONE = -1
FIRST_ROWS = 1 << 17  # of the pair table, which grows; byte pairs need up to 1 << 16


class Places(NamedTuple):
    """The bytes of the distinct pretokens; (n,) each, links are places or NONE."""

    symbol: np.ndarray  # int32; meaningful at the first byte of a symbol
    weight: np.ndarray  # int64; occurrences of the pretoken
    before: np.ndarray  # int32; first byte of the symbol before this one
    behind: np.ndarray  # int32; likewise of the symbol behind
    row: np.ndarray  # int32; the pair that begins here
    list_before: np.ndarray  # int32; the occurrence of that pair before this one
    list_behind: np.ndarray  # int32; likewise behind


class Pairs(NamedTuple):
    """The pair table; (capacity,) each, the first `num_rows` are in use."""

    left: np.ndarray  # int32; symbol
    right: np.ndarray  # int32; symbol
    count: np.ndarray  # int64; weighted occurrences
    first: np.ndarray  # int32; the leftmost occurrence
    last: np.ndarray  # int32; the rightmost


class Heap(NamedTuple):
    """A binary heap of rows, the next one to merge on top; (capacity,) each."""

    row: np.ndarray  # int32
    count: np.ndarray  # int64; as it was when the row was last looked at


class Tokens(NamedTuple):
    """The bytes of all symbols, one behind the other."""

    start: np.ndarray  # (symbols + 1,) int64
    content: np.ndarray  # (capacity,) uint8


def merge_compiled(
    counts: Mapping[bytes, int], num_merges: int, *, progress: Callable[[int, int], None]
) -> list[tuple[bytes, bytes]]:
    """Learn merges; see `bpe.merges.learn_merges`."""
    state = _State(counts, num_merges)
    tokens = [bytes([byte]) for byte in range(256)]
    merges: list[tuple[bytes, bytes]] = []
    progress(0, num_merges)
    while len(merges) < num_merges and (row := state.pop()) != NONE:
        left, right = tokens[state.pairs.left[row]], tokens[state.pairs.right[row]]
        state.merge(row, left + right)
        tokens.append(left + right)
        merges.append((left, right))
        progress(len(merges), num_merges)
    return merges


class _State:
    """Owns the arrays that the kernels mutate, and makes room in them."""

    def __init__(self, counts: Mapping[bytes, int], num_merges: int) -> None:
        # Sorted, so that the places, and with them the time taken, do not depend on dict order.
        pretokens = sorted(pretoken for pretoken in counts if len(pretoken) > 1)
        self.places = _place(pretokens, [counts[pretoken] for pretoken in pretokens])
        self.pairs = Pairs(*(np.empty(FIRST_ROWS, kind) for kind in ("i4", "i4", "i8", "i4", "i4")))
        self.heap = Heap(np.empty(FIRST_ROWS, np.int32), np.empty(FIRST_ROWS, np.int64))
        start = np.zeros(256 + num_merges + 1, np.int64)
        start[:257] = np.arange(257)
        self.tokens = Tokens(start, np.arange(1 << 12).astype(np.uint8))
        # The row of (x, newest symbol) by x, and of (newest symbol, y) by y.
        self.row_by_left = np.full(256 + num_merges, NONE, np.int32)
        self.row_by_right = np.full(256 + num_merges, NONE, np.int32)
        self.num_symbols, self.heap_size = 256, 0
        self.num_rows = list_byte_pairs(self.places, self.pairs)
        self._push(0)

    def pop(self) -> int:
        """Take the next row to merge from the heap; NONE where no pair is left."""
        row, self.heap_size = pop_row(self.heap, self.heap_size, self.pairs, self.tokens)
        return row

    def merge(self, row: int, token: bytes) -> None:
        """Make one symbol of every occurrence of a pair."""
        first_row = self.num_rows
        while self.pairs.first[row] != NONE:
            if self.num_rows + 2 > len(self.pairs.left):
                self.pairs = Pairs(*map(_with_room, self.pairs))
                self.heap = Heap(*map(_with_room, self.heap))
            self.num_rows = merge_occurrences(
                row,
                self.num_symbols,
                first_row,
                self.num_rows,
                self.places,
                self.pairs,
                self.row_by_left,
                self.row_by_right,
            )
        self._append_token(token)
        self._push(first_row)

    def _append_token(self, token: bytes) -> None:
        start, content = self.tokens
        begin = start[self.num_symbols]
        while begin + len(token) > len(content):
            content = _with_room(content)
        content[begin : begin + len(token)] = np.frombuffer(token, np.uint8)
        self.num_symbols += 1
        start[self.num_symbols] = begin + len(token)
        self.tokens = Tokens(start, content)

    def _push(self, first_row: int) -> None:
        self.heap_size = push_rows(
            first_row, self.num_rows, self.heap, self.heap_size, self.pairs, self.tokens
        )


def _place(pretokens: list[bytes], weights: list[int]) -> Places:
    text = np.frombuffer(b"".join(pretokens), np.uint8)
    if len(text) > 2**31 - 1:
        raise ValueError(f"distinct pretokens have {len(text)} bytes; places end at 2**31 - 1")
    lengths = np.fromiter(map(len, pretokens), np.int64, len(pretokens))
    ends = np.cumsum(lengths)
    before = np.arange(-1, len(text) - 1, dtype=np.int32)
    before[ends - lengths] = NONE
    behind = np.arange(1, len(text) + 1, dtype=np.int32)
    behind[ends - 1] = NONE
    row, list_before, list_behind = np.full((3, len(text)), NONE, np.int32)
    weight = np.repeat(np.array(weights, np.int64), lengths)
    return Places(text.astype(np.int32), weight, before, behind, row, list_before, list_behind)


def _with_room(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, np.empty_like(array)])


@njit(cache=True)
def list_byte_pairs(places, pairs):
    """List every pair of neighbouring bytes; return the number of rows.

    Mutates `places` (row and list links) and `pairs`, which has room for 65,536 rows.
    """
    row_by_code = np.full(1 << 16, NONE, np.int32)
    num_rows = 0
    for place in range(len(places.symbol)):
        behind = places.behind[place]
        if behind == NONE:
            continue
        left, right = places.symbol[place], places.symbol[behind]
        code = left << 8 | right
        if row_by_code[code] == NONE:
            row_by_code[code] = num_rows
            begin_row(num_rows, left, right, pairs)
            num_rows += 1
        append(place, row_by_code[code], places, pairs)
    return num_rows


@njit(cache=True)
def merge_occurrences(row, symbol, first_row, num_rows, places, pairs, row_by_left, row_by_right):
    """Replace occurrences of a pair by `symbol` until none is left or `pairs` is full.

    Args:
        row: the pair.
        symbol: the new symbol.
        first_row: rows from here on were made for this symbol.
        num_rows: rows in use.
        places: mutated.
        pairs: mutated.
        row_by_left: (symbols,) int32, mutated; entries below `first_row` are out of date.
        row_by_right: likewise.

    Returns:
        Rows in use now. The caller makes room and calls again while occurrences are left.
    """
    while pairs.first[row] != NONE and num_rows + 2 <= len(pairs.left):
        place = pairs.first[row]
        second = places.behind[place]
        before, behind = places.before[place], places.behind[second]
        remove(place, places, pairs)
        if before != NONE:
            remove(before, places, pairs)
        if behind != NONE:
            remove(second, places, pairs)
            places.before[behind] = place
        places.symbol[place] = symbol
        places.behind[place] = behind
        if before != NONE:
            left = places.symbol[before]
            if row_by_left[left] < first_row:
                row_by_left[left] = num_rows
                begin_row(num_rows, left, symbol, pairs)
                num_rows += 1
            append(before, row_by_left[left], places, pairs)
        if behind != NONE:  # never the new symbol itself: what is behind has not been walked yet
            right = places.symbol[behind]
            if row_by_right[right] < first_row:
                row_by_right[right] = num_rows
                begin_row(num_rows, symbol, right, pairs)
                num_rows += 1
            append(place, row_by_right[right], places, pairs)
    return num_rows


@njit(cache=True)
def begin_row(row, left, right, pairs):
    """Make an empty row for a pair of symbols."""
    pairs.left[row], pairs.right[row] = left, right
    pairs.count[row] = 0
    pairs.first[row] = pairs.last[row] = NONE


@njit(cache=True)
def append(place, row, places, pairs):
    """Put a place at the end of the list of a row."""
    last = pairs.last[row]
    places.row[place] = row
    places.list_before[place], places.list_behind[place] = last, NONE
    if last == NONE:
        pairs.first[row] = place
    else:
        places.list_behind[last] = place
    pairs.last[row] = place
    pairs.count[row] += places.weight[place]


@njit(cache=True)
def remove(place, places, pairs):
    """Take a place out of the list that it is in."""
    row = places.row[place]
    before, behind = places.list_before[place], places.list_behind[place]
    if before == NONE:
        pairs.first[row] = behind
    else:
        places.list_behind[before] = behind
    if behind == NONE:
        pairs.last[row] = before
    else:
        places.list_before[behind] = before
    pairs.count[row] -= places.weight[place]


@njit(cache=True)
def push_rows(first_row, end_row, heap, heap_size, pairs, tokens):
    """Push the rows of a range that have occurrences; return the new size of the heap."""
    for row in range(first_row, end_row):
        if pairs.count[row] == 0:
            continue
        child = heap_size
        heap_size += 1
        heap.row[child], heap.count[child] = row, pairs.count[row]
        while child > 0 and is_ahead(child, (child - 1) >> 1, heap, pairs, tokens):
            swap(child, (child - 1) >> 1, heap)
            child = (child - 1) >> 1
    return heap_size


@njit(cache=True)
def pop_row(heap, heap_size, pairs, tokens):
    """Pop the most frequent pair; return its row (or NONE) and the new size of the heap."""
    while heap_size > 0:
        row, count = heap.row[0], pairs.count[heap.row[0]]
        is_current = count == heap.count[0]
        if is_current or count == 0:
            heap_size -= 1
            swap(0, heap_size, heap)
        else:
            heap.count[0] = count
        sift_down(heap, heap_size, pairs, tokens)
        if is_current:
            return row, heap_size
    return NONE, heap_size


@njit(cache=True)
def sift_down(heap, heap_size, pairs, tokens):
    """Let the top sink to where it belongs."""
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= heap_size:
            return
        if child + 1 < heap_size and is_ahead(child + 1, child, heap, pairs, tokens):
            child += 1
        if not is_ahead(child, parent, heap, pairs, tokens):
            return
        swap(child, parent, heap)
        parent = child


@njit(cache=True)
def swap(one, other, heap):
    """Exchange two entries of the heap."""
    heap.row[one], heap.row[other] = heap.row[other], heap.row[one]
    heap.count[one], heap.count[other] = heap.count[other], heap.count[one]


@njit(cache=True)
def is_ahead(one, other, heap, pairs, tokens):
    """Whether one heap entry is to be merged before another: by count, then by bytes."""
    if heap.count[one] != heap.count[other]:
        return heap.count[one] > heap.count[other]
    row, other_row = heap.row[one], heap.row[other]
    order = compare(pairs.left[row], pairs.left[other_row], tokens)
    if order == 0:
        order = compare(pairs.right[row], pairs.right[other_row], tokens)
    return order > 0


@njit(cache=True)
def compare(symbol, other, tokens):
    """Compare the bytes of two symbols; positive where those of the first are greater."""
    begin, other_begin = tokens.start[symbol], tokens.start[other]
    length, other_length = tokens.start[symbol + 1] - begin, tokens.start[other + 1] - other_begin
    for offset in range(min(length, other_length)):
        byte, other_byte = tokens.content[begin + offset], tokens.content[other_begin + offset]
        if byte != other_byte:
            return 1 if byte > other_byte else -1
    return length - other_length
