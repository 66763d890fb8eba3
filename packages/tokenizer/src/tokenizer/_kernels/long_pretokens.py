"""How is one new pretoken of more than 62 bytes encoded?

Stage: pretokens -> *ids*. Such are rare, so they have kernels of their own, which keeps those for
all others small: most of the time to compile is that of what is called from several.
"""

from bpe.kernel_parts import kernel, load32
from tokenizer._kernels.encoding import start_of
from tokenizer._kernels.matching import match_tokens
from tokenizer._kernels.merging_long import merge_long
from tokenizer._kernels.tables.layout import SCRATCH_BYTES, get
from tokenizer._kernels.tables.memo import remember_long


@kernel
def encode_by_matching(state, origin, ends, number, out):
    """Encode one pretoken, with merges that come after those that make their parts.

    Args:
        state: address of the fields of `layout`.
        origin: address of the text of the batch.
        ends: address of int32; where each pretoken ends, from `origin`.
        number: of the pretoken.
        out: address of the output.

    Returns:
        Where the output goes on; or, where SCRATCH is too small, the negative number of bytes.
    """
    start = start_of(ends, number)
    length = load32(ends + 4 * number) - start
    if length > get(state, SCRATCH_BYTES):
        return -length
    count = match_tokens(state, origin + start, length)
    return remember_long(state, origin + start, length, count, out)


@kernel
def encode_by_merging(state, origin, ends, number, out):
    """As `encode_by_matching`, with any merges; compiled when they are met."""
    start = start_of(ends, number)
    length = load32(ends + 4 * number) - start
    if length > get(state, SCRATCH_BYTES):
        return -length
    count = merge_long(state, origin + start, length)
    return remember_long(state, origin + start, length, count, out)
