"""Make the keys under which tables of pretokens are searched.

Stage: pretokens -> *keys* -> counts, or ids. A pretoken of up to 15 bytes is two words that hold
its bytes and its length; a longer one has a hash. Not here: the tables (`counting.table`, and the
memo of `tokenizer`).
"""

import numpy as np

from bpe._kernels.compiling import helper, inlined
from bpe._kernels.machine import GOLDEN, PRIME, load64, min_signed, mix, multiply

SHORT_BYTES = 15
"""Longest pretoken that is its own key."""
MASK_BYTES = 32
"""Of one row of `key_masks`."""


def key_masks() -> np.ndarray:
    """Return, per length up to 16: which bytes of two words belong to the key, and the length.

    The key of a pretoken of 16 bytes or more has -1 as its second word, like no short one.
    """
    masks = np.zeros((SHORT_BYTES + 2, MASK_BYTES), np.uint8)
    for length in range(SHORT_BYTES + 1):
        masks[length, :length] = 0xFF
        masks[length, 23] = length
    masks[SHORT_BYTES + 1, 16:24] = 0xFF
    return masks


@inlined
def short_key(masks, address, length):
    """Return the two words of a key; 16 bytes from `address` on are readable."""
    mask = masks + MASK_BYTES * min_signed(length, SHORT_BYTES + 1)
    low = load64(address) & load64(mask)
    high = load64(address + 8) & load64(mask + 8) | load64(mask + 16)
    return low, high


@inlined
def short_home(low, high, table, mask):
    """Return the address of the home of a short key in a table."""
    return table + (mix(low ^ GOLDEN, high ^ PRIME) & mask)


@helper
def hash_bytes(address, length):
    """Hash 16 bytes or more, 16 at a time; the last 16 may overlap the ones before."""
    spread = multiply(length, GOLDEN)
    last = address + length - 16
    while address < last:
        spread = mix(load64(address) ^ spread, load64(address + 8) ^ PRIME)
        address += 16
    return mix(load64(last) ^ spread, load64(last + 8) ^ GOLDEN)


@helper
def are_equal(one, other, length):
    """Whether two stretches of 8 bytes or more hold the same bytes."""
    offset = 0
    while offset < length - 8:
        if load64(one + offset) != load64(other + offset):
            return False
        offset += 8
    return load64(one + length - 8) == load64(other + length - 8)
