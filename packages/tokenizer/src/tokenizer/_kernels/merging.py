"""How do the bytes of one pretoken become ids?

Stage: pretokens -> *ids*. The merge learned first is done first, wherever it stands; of several
equal ones, the leftmost. `tokenizer.merge` says the same in plain Python. Two ways: up to 62 bytes
one 64-bit word holds which places are alive and each step is a minimum over candidates; beyond, a
linked list and a heap take O(n log n). Both leave uint32 ids at SCRATCH.
"""

from bpe.kernel_parts import (
    WORD,
    choose,
    fill16,
    helper,
    inlined,
    keep_scalar,
    leading_zeros,
    load8,
    load32,
    load64,
    min_unsigned,
    shift_right,
    store32,
    store64,
    trailing_zeros,
)
from tokenizer._kernels.layout import (
    BUCKET_SHIFT,
    BYTE_PAIRS,
    DISPLACEMENTS,
    PAIR_SHIFT,
    PAIRS,
    PRODUCTS,
    SCRATCH,
    SCRATCH_BYTES,
    SYMBOL_IDS,
    get,
)
from tokenizer._kernels.pairs import MAX_SYMBOLS, merge_number

MAX_SHORT = 62
"""Longest pretoken, in bytes, whose places fit into one word with a sentinel on either side."""
SCRATCH_SLACK = 1 << 12
"""Bytes of SCRATCH beyond `scratch_size`; `merge_short` needs no more than these."""
_CANDIDATES = 4 * (MAX_SHORT + 2)


def scratch_size(max_bytes: int) -> int:
    """Return the bytes of SCRATCH that pretokens of up to `max_bytes` need."""
    return 32 * max_bytes + SCRATCH_SLACK


@helper
def merge_short(state, address, length):
    """Merge 1 to 62 bytes; return the number of ids.

    Bytes stand at places 1 to `length`, with sentinels before and behind. The candidate of a
    place is the number of the merge with its right neighbour << 6 | place, or all ones.
    """
    symbols = get(state, SCRATCH)
    candidates = symbols + _CANDIDATES
    pairs, pair_shift = get(state, PAIRS), get(state, PAIR_SHIFT)
    displacements, bucket_shift = get(state, DISPLACEMENTS), get(state, BUCKET_SHIFT)
    products = get(state, PRODUCTS)
    num_groups = _start_short(state, address, length)
    alive = (2 << (length + 1)) - 1
    while True:
        best = _smallest16(candidates)
        for group in range(1, num_groups):
            keep_scalar()
            best = min_unsigned(best, _smallest16(candidates + 64 * group))
        if best == WORD:
            break
        place = best & 63
        made = load32(products + 4 * shift_right(best, 6))
        later = alive & (-2 << place)
        partner = trailing_zeros(later)
        following = trailing_zeros(later & (later - 1))
        preceding = 63 - leading_zeros(alive & ((1 << place) - 1))
        alive ^= 1 << partner
        store32(candidates + 4 * partner, WORD)
        store32(symbols + 4 * place, made)
        right = load32(symbols + 4 * following)
        left = load32(symbols + 4 * preceding)
        number = merge_number(pairs, pair_shift, displacements, bucket_shift, made, right)
        store32(candidates + 4 * place, choose(number, number << 6 | place, WORD))
        number = merge_number(pairs, pair_shift, displacements, bucket_shift, left, made)
        store32(candidates + 4 * preceding, choose(number, number << 6 | preceding, WORD))
    return _collect_short(state, alive & ((1 << (length + 1)) - 2))


@inlined
def _start_short(state, address, length):
    """Write symbols and candidates; return how many groups of 16 candidates there are."""
    symbols, byte_pairs = get(state, SCRATCH), get(state, BYTE_PAIRS)
    candidates = symbols + _CANDIDATES
    num_groups = (length + 16) >> 4
    for group in range(num_groups):
        keep_scalar()
        fill16(candidates + 64 * group, WORD)
    left = load8(address)
    store32(symbols, MAX_SYMBOLS)
    store32(symbols + 4, left)
    for place in range(1, length):
        keep_scalar()
        right = load8(address + place)
        store32(symbols + 4 * place + 4, right)
        number = load32(byte_pairs + 4 * (left << 8 | right))
        store32(candidates + 4 * place, choose(number, number << 6 | place, WORD))
        left = right
    store32(symbols + 4 * length + 4, MAX_SYMBOLS)
    return num_groups


@inlined
def _collect_short(state, alive):
    """Write the ids of the places that are alive from the start of SCRATCH on."""
    symbols, ids = get(state, SCRATCH), get(state, SYMBOL_IDS)
    count = 0
    while alive != 0:
        symbol = load32(symbols + 4 * trailing_zeros(alive))
        store32(symbols + 4 * count, load32(ids + 4 * symbol))
        alive &= alive - 1
        count += 1
    return count


@inlined
def _smallest4(address):
    pair = min_unsigned(load32(address), load32(address + 4))
    return min_unsigned(pair, min_unsigned(load32(address + 8), load32(address + 12)))


@inlined
def _smallest16(address):
    """Return the smallest of 16 uint32; four at a time, so that the CPU can do them at once."""
    eight = min_unsigned(_smallest4(address), _smallest4(address + 16))
    return min_unsigned(eight, min_unsigned(_smallest4(address + 32), _smallest4(address + 48)))


@helper
def merge_long(state, address, length):
    """Merge any number of bytes, up to SCRATCH_BYTES; return the number of ids.

    SCRATCH holds, by place: symbol, next place, 1 + place before, number of the merge with the
    right neighbour (uint32 each), then a heap of number << 32 | place. An entry of the heap is
    void once the place has another number.
    """
    symbols, capacity = get(state, SCRATCH), get(state, SCRATCH_BYTES)
    following = symbols + 4 * capacity
    preceding = following + 4 * capacity
    numbers = preceding + 4 * capacity
    heap = numbers + 4 * capacity
    pairs, pair_shift = get(state, PAIRS), get(state, PAIR_SHIFT)
    displacements, bucket_shift = get(state, DISPLACEMENTS), get(state, BUCKET_SHIFT)
    products = get(state, PRODUCTS)
    heap_size = _start_long(state, address, length)
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
    return _collect_long(state, length)


@inlined
def _start_long(state, address, length):
    """Write symbols, links, numbers and the heap; return the size of the heap."""
    symbols, capacity = get(state, SCRATCH), get(state, SCRATCH_BYTES)
    following = symbols + 4 * capacity
    preceding = following + 4 * capacity
    numbers = preceding + 4 * capacity
    heap = numbers + 4 * capacity
    byte_pairs = get(state, BYTE_PAIRS)
    heap_size = 0
    for place in range(length):
        byte = load8(address + place)
        store32(symbols + 4 * place, byte)
        store32(following + 4 * place, place + 1)
        store32(preceding + 4 * place, place)
        number = 0
        if place + 1 < length:
            number = load32(byte_pairs + 4 * (byte << 8 | load8(address + place + 1)))
        store32(numbers + 4 * place, number)
        if number != 0:
            _rise(heap, heap_size, number << 32 | place)
            heap_size += 1
    return heap_size


@inlined
def _collect_long(state, length):
    """Write the ids of the symbols that are still linked from the start of SCRATCH on."""
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
    """Put an entry into the hole at the top of a heap."""
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
