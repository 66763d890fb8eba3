"""Decide whether two symbols can be neighbours without any merge across their border.

Stage: merges -> *symbols*. A symbol is made by its last merge, its parts by earlier ones. So what
was on each side of a border at any time is known, from the latest time back to single bytes. That
requires that merges come after those that make their parts; for merges learned from text this is
true, and `derive` checks it. Not here: the merge of two symbols (`pairs`).
Source: the split table of the encoder in rust-gems (GitHub 2024). Departure: several merges may
make the same token.
"""

from bpe.kernel_parts import (
    inlined,
    kernel,
    load8,
    load32,
    load64,
    shift_right,
    store8,
    store32,
    store64,
)
from tokenizer._kernels.tables.layout import (
    BUCKET_SHIFT,
    DISPLACEMENTS,
    PAIR_SHIFT,
    PAIRS,
    PRODUCTS,
    SYMBOLS,
    get,
)
from tokenizer._kernels.tables.pairs import MAX_SYMBOLS, SYMBOL_BITS, merge_number

SYMBOL_BYTES = 16
"""{int64 number of the merge << 42 | left part << 21 | right part, uint32 length, uint32 shorter}:
the first is 0 for a single byte, the length is 0 for a symbol that no text ever becomes."""
LENGTH, SHORTER = 8, 12
"""Offsets of the length, and of the longest other symbol that begins this one, or WORD."""
ANY_TIME = MAX_SYMBOLS + 1
"""After all merges."""


@inlined
def length_of(state, symbol):
    """Return the number of bytes of a symbol, 0 for one that no text becomes."""
    return load32(get(state, SYMBOLS) + SYMBOL_BYTES * symbol + LENGTH)


@inlined
def are_apart(state, left, right, time):
    """Whether no merge with a number below `time` has joined anything across a border.

    Of two equal merges the left one comes first: one across the border comes before one on its
    right, and after one on its left.
    """
    symbols = get(state, SYMBOLS)
    pairs, pair_shift = get(state, PAIRS), get(state, PAIR_SHIFT)
    displacements, bucket_shift = get(state, DISPLACEMENTS), get(state, BUCKET_SHIFT)
    while True:
        number = merge_number(pairs, pair_shift, displacements, bucket_shift, left, right)
        if number != 0 and number < time:
            return False
        left_made = load64(symbols + SYMBOL_BYTES * left)
        right_made = load64(symbols + SYMBOL_BYTES * right)
        left_time = shift_right(left_made, 2 * SYMBOL_BITS)
        right_time = shift_right(right_made, 2 * SYMBOL_BITS)
        if left_time > right_time:
            time = left_time
            left = left_made & MAX_SYMBOLS
        elif right_time > 0:
            time = right_time + 1
            right = shift_right(right_made, SYMBOL_BITS) & MAX_SYMBOLS
        else:
            return True


@kernel
def derive(state, num_merges, lefts, rights, is_awaited):
    """Find out which symbols texts become, and which merge makes each one.

    Args:
        state: address of the fields of `layout`; the symbols of single bytes are described.
        num_merges: how many.
        lefts: address of int64 per merge: its left part, -1 if no merge makes it.
        rights: address of int64 per merge: its right part, likewise.
        is_awaited: address of uint8 per symbol, all 0; changed.

    Returns:
        Whether each merge comes after those that make its parts.
    """
    for merge in range(num_merges):
        left, right = load64(lefts + 8 * merge), load64(rights + 8 * merge)
        if left < 0 or right < 0:
            continue
        length = length_of(state, left) + length_of(state, right)
        if length_of(state, left) == 0 or length_of(state, right) == 0:
            store8(is_awaited + left, 1)
            store8(is_awaited + right, 1)
            continue
        number = 256 + merge
        made = load32(get(state, PRODUCTS) + 4 * number)
        if length_of(state, made) != 0 or not are_apart(state, left, right, number):
            continue
        if load8(is_awaited + made) != 0:
            return False
        symbol = get(state, SYMBOLS) + SYMBOL_BYTES * made
        store64(symbol, number << (2 * SYMBOL_BITS) | left << SYMBOL_BITS | right)
        store32(symbol + LENGTH, length)
    return True
