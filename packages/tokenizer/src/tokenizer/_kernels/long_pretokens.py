"""Encode new pretokens of more than 62 bytes.

Stage: pretokens -> *ids*. They are rare, so they have their own kernels, which keeps the other
kernels small: most compile time goes into code that several kernels call. Not here: shorter
pretokens (`encoding`).
"""

from bpe.kernel_parts import kernel, load32
from tokenizer._kernels.encoding import start_of
from tokenizer._kernels.matching import match_tokens
from tokenizer._kernels.merging_long import merge_long
from tokenizer._kernels.tables.layout import SCRATCH_BYTES, get
from tokenizer._kernels.tables.memo import remember_long


@kernel
def encode_by_matching(state, origin, ends, number, out):
    """Encode one pretoken, if each merge comes after those that make its parts.

    Args:
        state: address of the fields of `layout`.
        origin: address of the text of the batch.
        ends: address of int32; where each pretoken ends, relative to `origin`.
        number: of the pretoken.
        out: address of the output.

    Returns:
        Where the output continues; or, if SCRATCH is too small, the negative number of bytes.
    """
    start = start_of(ends, number)
    length = load32(ends + 4 * number) - start
    if length > get(state, SCRATCH_BYTES):
        return -length
    count = match_tokens(state, origin + start, length)
    return remember_long(state, origin + start, length, count, out)


@kernel
def encode_by_merging(state, origin, ends, number, out):
    """As `encode_by_matching`, for merges in any order; compiled when first needed."""
    start = start_of(ends, number)
    length = load32(ends + 4 * number) - start
    if length > get(state, SCRATCH_BYTES):
        return -length
    count = merge_long(state, origin + start, length)
    return remember_long(state, origin + start, length, count, out)
