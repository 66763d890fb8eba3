"""Encode one short text in a single call.

Stage: text -> *ids*. Encoding a sentence takes less time than Python needs to call two kernels and
to prepare a buffer, so everything happens in one call here. Not here: longer texts (`encoder`).
"""

from collections.abc import Callable

from bpe.kernel_parts import (
    begin_buffer,
    cut_by_cl100k,
    cut_by_gpt2,
    cut_by_o200k,
    cut_by_qwen2,
    cut_kernel,
    helper,
    kernel,
)
from tokenizer._kernels.encoding import DONE, encode_pretokens
from tokenizer._kernels.tables.layout import IS_WIDE, get

MAX_BYTES = 4096
"""Limit for a short text; fewer than the tokens of a batch, so one batch holds it."""


@kernel
def encode_by_gpt2(cutter, ends, state, address, num_bytes, out):
    """Encode a text of at most MAX_BYTES.

    Args:
        cutter: address of the state of a `Cutter`.
        ends: address of its ends.
        state: address of the state of a `Worker`.
        address: of the text; nothing beyond it is read.
        num_bytes: its length.
        out: address of the output; room for one id per byte and 16 more.

    Returns:
        The number of ids; negative if the worker has to make room first.
    """
    begin_buffer(cutter, address, num_bytes, num_bytes)
    return _encode(cut_by_gpt2(cutter), ends, state, address, num_bytes, out)


@kernel
def encode_by_cl100k(cutter, ends, state, address, num_bytes, out):
    """As `encode_by_gpt2`, for cl100k and Llama 3."""
    begin_buffer(cutter, address, num_bytes, num_bytes)
    return _encode(cut_by_cl100k(cutter), ends, state, address, num_bytes, out)


@kernel
def encode_by_qwen2(cutter, ends, state, address, num_bytes, out):
    """As `encode_by_gpt2`, for Qwen 2."""
    begin_buffer(cutter, address, num_bytes, num_bytes)
    return _encode(cut_by_qwen2(cutter), ends, state, address, num_bytes, out)


@kernel
def encode_by_o200k(cutter, ends, state, address, num_bytes, out):
    """As `encode_by_gpt2`, for o200k."""
    begin_buffer(cutter, address, num_bytes, num_bytes)
    return _encode(cut_by_o200k(cutter), ends, state, address, num_bytes, out)


@helper
def _encode(count, ends, state, address, num_bytes, out):
    end = address + num_bytes
    _, after, status = encode_pretokens(state, address, ends, count, 0, end, out)
    if status != DONE:
        return -1
    return (after - out) >> (1 + get(state, IS_WIDE))


_BY_CUT = {
    cut_by_gpt2: encode_by_gpt2,
    cut_by_cl100k: encode_by_cl100k,
    cut_by_qwen2: encode_by_qwen2,
    cut_by_o200k: encode_by_o200k,
}


def short_kernel(pattern: str) -> Callable[..., int] | None:
    """Return the kernel for a pattern; None if only the `regex` module cuts by it."""
    return _BY_CUT.get(cut_kernel(pattern))
