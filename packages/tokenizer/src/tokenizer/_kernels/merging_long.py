"""Merge the bytes of a long pretoken, with merges in any order.

Stage: pretokens -> *ids*. As in `tables.merging`, but with a linked list and a heap, in O(n log n).
Not here: merges that come after those that make their parts, for which `matching` is faster.
"""

from bpe.kernel_parts import (
    WORD,
    helper,
    inlined,
    load8,
    load32,
    load64,
    shift_right,
    store32,
    store64,
)
from tokenizer._kernels.tables.layout import (
    BUCKET_SHIFT,
    DISPLACEMENTS,
    PAIR_SHIFT,
    PAIRS,
    PRODUCTS,
    SCRATCH,
    SCRATCH_BYTES,
    SYMBOL_IDS,
    get,
)
from tokenizer._kernels.tables.pairs import merge_number

SCRATCH_PER_BYTE = 32
"""Bytes of SCRATCH per byte of a pretoken."""


@helper
def merge_long(state, address, length):
    """Leave the ids of a pretoken in SCRATCH, as uint32; return how many.

    SCRATCH holds, per place: symbol, next place, 1 + previous place, number of the merge with the
    right neighbour (uint32 each), then a heap of number << 32 | place. An entry of the heap is void
    once the place has another number.
    """
    symbols, capacity = get(state, SCRATCH), get(state, SCRATCH_BYTES)
    following = symbols + 4 * capacity
    preceding = following + 4 * capacity
    numbers = preceding + 4 * capacity
    heap = numbers + 4 * capacity
    pairs, pair_shift = get(state, PAIRS), get(state, PAIR_SHIFT)
    displacements, bucket_shift = get(state, DISPLACEMENTS), get(state, BUCKET_SHIFT)
    products = get(state, PRODUCTS)
    heap_size = _start(state, address, length)
    while heap_size > 0:
        top = load64(heap)
        heap_size -= 1
        _sink(heap, heap_size, load64(heap + 8 * heap_size))
        place, number = top & WORD, shift_right(top, 32)
        if load32(numbers + 4 * place) != number:
            continue
        made = load32(products + 4 * number)
        partner = load32(following + 4 * place)
        behind = load32(following + 4 * partner)
        store32(symbols + 4 * place, made)
        store32(following + 4 * place, behind)
        store32(numbers + 4 * partner, 0)
        number = 0
        if behind < length:
            store32(preceding + 4 * behind, place + 1)
            right = load32(symbols + 4 * behind)
            number = merge_number(pairs, pair_shift, displacements, bucket_shift, made, right)
        store32(numbers + 4 * place, number)
        if number != 0:
            _rise(heap, heap_size, number << 32 | place)
            heap_size += 1
        before = load32(preceding + 4 * place) - 1
        if before >= 0:
            left = load32(symbols + 4 * before)
            number = merge_number(pairs, pair_shift, displacements, bucket_shift, left, made)
            store32(numbers + 4 * before, number)
            if number != 0:
                _rise(heap, heap_size, number << 32 | before)
                heap_size += 1
    return _collect(state, length)


@inlined
def _start(state, address, length):
    """Write symbols, links, numbers and the heap; return the size of the heap."""
    symbols, capacity = get(state, SCRATCH), get(state, SCRATCH_BYTES)
    following = symbols + 4 * capacity
    preceding = following + 4 * capacity
    numbers = preceding + 4 * capacity
    heap = numbers + 4 * capacity
    pairs, pair_shift = get(state, PAIRS), get(state, PAIR_SHIFT)
    displacements, bucket_shift = get(state, DISPLACEMENTS), get(state, BUCKET_SHIFT)
    heap_size = 0
    for place in range(length):
        byte = load8(address + place)
        store32(symbols + 4 * place, byte)
        store32(following + 4 * place, place + 1)
        store32(preceding + 4 * place, place)
        number = 0
        if place + 1 < length:
            right = load8(address + place + 1)
            number = merge_number(pairs, pair_shift, displacements, bucket_shift, byte, right)
        store32(numbers + 4 * place, number)
        if number != 0:
            _rise(heap, heap_size, number << 32 | place)
            heap_size += 1
    return heap_size


@inlined
def _collect(state, length):
    """Write the ids of the symbols that are still linked to the start of SCRATCH."""
    symbols, ids = get(state, SCRATCH), get(state, SYMBOL_IDS)
    following = symbols + 4 * get(state, SCRATCH_BYTES)
    place = count = 0
    while place < length:
        store32(symbols + 4 * count, load32(ids + 4 * load32(symbols + 4 * place)))
        count += 1
        place = load32(following + 4 * place)
    return count


@helper
def _rise(heap, hole, entry):
    """Put an entry into a heap, smallest first, whose next free place is `hole`."""
    while hole > 0:
        parent = (hole - 1) >> 1
        above = load64(heap + 8 * parent)
        if above <= entry:
            break
        store64(heap + 8 * hole, above)
        hole = parent
    store64(heap + 8 * hole, entry)


@helper
def _sink(heap, size, entry):
    """Put an entry into the free top of a heap."""
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        if child + 1 < size and load64(heap + 8 * child + 8) < load64(heap + 8 * child):
            child += 1
        if load64(heap + 8 * child) >= entry:
            break
        store64(heap + 8 * hole, load64(heap + 8 * child))
        hole = child
    store64(heap + 8 * hole, entry)
