"""Find the next pair to merge.

Stage: pretoken counts -> *merges*. The heap is lazy: counts only fall after a pair is registered,
so a pair on top with an outdated count sinks to where it belongs. Not here: how counts change
(`steps`).
"""

from bpe._kernels.compiling import helper, inlined
from bpe._kernels.machine import (
    GOLDEN,
    load8,
    load32,
    load64,
    min_signed,
    multiply,
    prefetch,
    shift_right,
    store32,
    store64,
)
from bpe._kernels.merging.state import (
    HEAP_BYTES,
    HEAP_SIZE,
    NUM_OCCURRENCES,
    NUM_PAIRS,
    PAIR_BYTES,
    SLOT_BYTES,
    length_of,
)

_KEY_BYTES = 8  # of a symbol, in its key


@helper
def register(pairs, symbols, progress, left, right, count, occurrences):
    """Make room for a pair and put it on the heap; return its first occurrence.

    The caller has made sure that the table has room.
    """
    number = load64(progress + NUM_PAIRS)
    first = load64(progress + NUM_OCCURRENCES)
    pair = pairs.pair + PAIR_BYTES * number
    store64(pair, count)
    store64(pair + 8, first)
    store64(pair + 16, occurrences)
    store32(pair + 24, left)
    store32(pair + 28, right)
    slot = find_slot(pairs, left, right)
    store64(slot, (left << 32 | right) + 1)
    store64(slot + 8, number)
    store64(progress + NUM_PAIRS, number + 1)
    store64(progress + NUM_OCCURRENCES, first + occurrences)
    size = load64(progress + HEAP_SIZE)
    store64(progress + HEAP_SIZE, size + 1)
    rise(pairs, symbols, size, count, number)
    return first


@inlined
def _home(pairs, left, right):
    spread = shift_right(multiply(left << 32 | right, GOLDEN), 20)
    return pairs.slots + (SLOT_BYTES * spread & pairs.slot_mask)


@inlined
def prefetch_slot(pairs, left, right):
    """Prefetch the slot of a pair."""
    prefetch(_home(pairs, left, right))


@inlined
def find_slot(pairs, left, right):
    """Return the address of the slot that holds a pair, or of the empty one where it belongs."""
    wanted = (left << 32 | right) + 1
    slot = _home(pairs, left, right)
    while True:
        found = load64(slot)
        if found == wanted or found == 0:
            return slot
        slot = pairs.slots + (slot - pairs.slots + SLOT_BYTES & pairs.slot_mask)


@inlined
def lower_count(pairs, left, right, weight):
    """Subtract a weight from the count of a pair, if the pair is registered."""
    slot = find_slot(pairs, left, right)
    if load64(slot) != 0:
        pair = pairs.pair + PAIR_BYTES * load64(slot + 8)
        store64(pair, load64(pair) - weight)


@inlined
def rise(pairs, symbols, place, count, number):
    """Move an entry up from a free place of the heap to where it belongs."""
    while place > 0:
        parent = pairs.heap + HEAP_BYTES * (place - 1 >> 1)
        if not is_ahead(pairs, symbols, count, number, load64(parent), load64(parent + 8)):
            break
        _write_entry(pairs, place, load64(parent), load64(parent + 8))
        place = place - 1 >> 1
    _write_entry(pairs, place, count, number)


@helper
def sink(pairs, symbols, size, count, number):
    """Move an entry down from the free top of the heap to where it belongs."""
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        entry = pairs.heap + HEAP_BYTES * child
        child_count, child_number = load64(entry), load64(entry + 8)
        if child + 1 < size:
            other_count, other_number = load64(entry + 16), load64(entry + 24)
            if is_ahead(pairs, symbols, other_count, other_number, child_count, child_number):
                child += 1
                child_count, child_number = other_count, other_number
        if is_ahead(pairs, symbols, count, number, child_count, child_number):
            break
        _write_entry(pairs, place, child_count, child_number)
        place = child
    _write_entry(pairs, place, count, number)


@inlined
def drop_top(pairs, symbols, progress):
    """Remove the top of the heap."""
    size = load64(progress + HEAP_SIZE) - 1
    store64(progress + HEAP_SIZE, size)
    last = pairs.heap + HEAP_BYTES * size
    if size > 0:
        sink(pairs, symbols, size, load64(last), load64(last + 8))


@inlined
def _write_entry(pairs, place, count, number):
    entry = pairs.heap + HEAP_BYTES * place
    store64(entry, count)
    store64(entry + 8, number)


@inlined
def is_ahead(pairs, symbols, count, number, other_count, other_number):
    """Whether one pair merges before another: by count, then by the rule for ties."""
    if count != other_count:
        return count > other_count
    return _wins_tie(pairs, symbols, number, other_number)


@helper
def _wins_tie(pairs, symbols, number, other_number):
    pair = pairs.pair + PAIR_BYTES * number
    other_pair = pairs.pair + PAIR_BYTES * other_number
    order = _compare(symbols, load32(pair + 24), load32(other_pair + 24))
    if order == 0:
        order = _compare(symbols, load32(pair + 28), load32(other_pair + 28))
    return order > 0


@inlined
def _compare(symbols, symbol, other):
    """Return a positive number if `symbol` comes before `other`, 0 if they are the same."""
    if symbol == other:
        return 0
    key, other_key = load64(symbols.key + 8 * symbol), load64(symbols.key + 8 * other)
    if key != other_key:
        return 1 if key > other_key else -1
    return _compare_bytes(symbols, symbol, other) * symbols.direction


@helper
def _compare_bytes(symbols, symbol, other):
    """Compare symbols whose first 8 bytes are equal; positive if the first is greater."""
    length, other_length = length_of(symbols, symbol), length_of(symbols, other)
    first = symbols.text + load32(symbols.first + 4 * symbol)
    other_first = symbols.text + load32(symbols.first + 4 * other)
    shorter = min_signed(length, other_length)
    offset = _KEY_BYTES
    while offset + 8 <= shorter and load64(first + offset) == load64(other_first + offset):
        offset += 8
    while offset < shorter:
        byte, other_byte = load8(first + offset), load8(other_first + offset)
        if byte != other_byte:
            return byte - other_byte
        offset += 1
    return length - other_length
