"""Merge the bytes of one pretoken of up to 62 bytes.

Stage: pretokens -> *ids*. The merge learned first is done first, wherever it is; among equal ones,
the leftmost. `tokenizer.merge` does the same in plain Python. One 64-bit word marks which places
are alive, and each step takes a minimum over candidates. Not here: longer pretokens (`matching`,
`merging_long`).
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
    min_unsigned,
    shift_right,
    store32,
    trailing_zeros,
)
from tokenizer._kernels.tables.layout import (
    BUCKET_SHIFT,
    BYTE_PAIRS,
    DISPLACEMENTS,
    PAIR_SHIFT,
    PAIRS,
    PRODUCTS,
    SCRATCH,
    SYMBOL_IDS,
    get,
)
from tokenizer._kernels.tables.pairs import MAX_SYMBOLS, merge_number

MAX_SHORT = 62
"""Longest pretoken, in bytes, whose places fit into one word with a sentinel on each side."""
SCRATCH_BYTES = 1 << 12
"""Size of SCRATCH, more than `merge_short` needs."""
_CANDIDATES = 4 * (MAX_SHORT + 2)


@helper
def merge_short(state, address, length):
    """Merge 1 to 62 bytes; leave the ids in SCRATCH, as uint32, and return how many.

    Bytes are at places 1 to `length`, with sentinels before and after. The candidate of a place is
    the number of the merge with its right neighbour << 6 | place, or all ones.
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
    """Write the ids of the places that are alive to the start of SCRATCH."""
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
    """Return the smallest of 16 uint32; four at a time, so the CPU can process them in parallel."""
    eight = min_unsigned(_smallest4(address), _smallest4(address + 16))
    return min_unsigned(eight, min_unsigned(_smallest4(address + 32), _smallest4(address + 48)))
