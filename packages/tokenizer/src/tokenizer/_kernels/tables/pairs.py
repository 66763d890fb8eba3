"""Look up the symbol that two neighbours make.

Stage: pretokens -> *symbols* -> ids. A symbol is a byte (0 to 255) or 256 + the rank of the first
merge that makes its bytes; the *number* of a merge is 256 + its rank. The table of pairs is a
perfect hash: a bucket's displacement sends each of its pairs to a slot of its own, so one access
is enough, without a loop or a branch. Not here: whether two symbols can be neighbours (`symbols`).
Source: Belazzougui, Botelho, Dietzfelbinger 2009, Hash, Displace, and Compress. Departure: no
compression.
"""

from bpe.kernel_parts import (
    GOLDEN,
    PRIME,
    choose,
    inlined,
    kernel,
    load32,
    load64,
    multiply,
    shift_right,
    store32,
    store64,
)

SYMBOL_BITS = 21
MAX_SYMBOLS = (1 << SYMBOL_BITS) - 1
"""Also a symbol that no pair contains."""
_MAX_DISPLACEMENT = 1 << 20


@inlined
def merge_number(pairs, pair_shift, displacements, bucket_shift, left, right):
    """Return the number of the merge of two symbols; 0 if there is none."""
    key = left << SYMBOL_BITS | right
    spread = multiply(key, GOLDEN)
    displacement = load32(displacements + 4 * shift_right(spread, bucket_shift))
    slot = load64(pairs + 8 * shift_right(multiply(spread ^ displacement, PRIME), pair_shift))
    return choose(shift_right(slot, SYMBOL_BITS) ^ key, 0, slot & MAX_SYMBOLS)


@kernel
def place_pairs(keys, numbers, buckets, starts, pairs, pair_shift, displacements):
    """Find displacements that send all pairs to slots of their own.

    Args:
        keys: (n,) int64; left << 21 | right, grouped by bucket.
        numbers: (n,) int64; of the merges.
        buckets: (m,) int64; those that are not empty, the fullest first.
        starts: (all buckets + 1,) int64; where each begins in `keys`.
        pairs: address of the slots, int64, all 0.
        pair_shift: 64 - log2 of the number of slots.
        displacements: address of uint32 per bucket; written.

    Returns:
        Whether it succeeded; if not, try again with more slots.
    """
    for bucket in buckets:
        first, end = starts[bucket], starts[bucket + 1]
        displacement = 1
        while not _place(keys, numbers, first, end, pairs, pair_shift, displacement):
            displacement += 1
            if displacement > _MAX_DISPLACEMENT:
                return False
        store32(displacements + 4 * bucket, displacement)
    return True


@inlined
def _slot(key, displacement, pairs, pair_shift):
    return pairs + 8 * shift_right(
        multiply(multiply(key, GOLDEN) ^ displacement, PRIME), pair_shift
    )


@inlined
def _place(keys, numbers, first, end, pairs, pair_shift, displacement):
    """Put the pairs of one bucket into their slots, or none of them if one is taken."""
    for place in range(first, end):
        slot = _slot(keys[place], displacement, pairs, pair_shift)
        if load64(slot) != 0:
            for placed in range(first, place):
                store64(_slot(keys[placed], displacement, pairs, pair_shift), 0)
            return False
        store64(slot, keys[place] << SYMBOL_BITS | numbers[place])
    return True
