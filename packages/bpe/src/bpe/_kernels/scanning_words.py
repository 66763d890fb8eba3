r"""Where do the pretokens of cl100k, Llama 3 and Qwen 2 end?

Stage: text -> *pretokens*. One pretoken after the other: its first character, or the first two,
say which alternative of the pattern matches. Where the pattern would try an alternative and go
back, the answer is known beforehand: `\s*[\r\n]+` ends at the last newline of its white space,
`\s+(?!\S)` in front of the last white character. At most three pretokens share a run of white
space, so no run is read more than three times. Not here: o200k (`scanning_o200k`).
"""

from bpe._kernels.character_classes import (
    LETTER,
    NEWLINE,
    NUMBER,
    class_and_width,
)
from bpe._kernels.compiling import helper, inlined
from bpe._kernels.machine import load8, store32
from bpe._kernels.scanning_gpt2 import FARTHEST
from bpe._kernels.scanning_runs import (
    APOSTROPHE,
    SPACE_BYTE,
    SYMBOL,
    contraction_bytes,
    letters_end,
    newlines_end,
    numbers_end,
    symbols_end,
    whites_end,
)


@helper
def scan_cl100k(base, position, end, readable, out, capacity, classes):
    """As `scan_gpt2`, for cl100k and Llama 3."""
    count = 0
    while position < end and count < capacity:
        place = base + position
        position = _next_end(place, base + end, base + readable, classes, 3) - base
        if position > FARTHEST:
            return count
        store32(out + 4 * count, position)
        count += 1
    return count


@helper
def scan_qwen2(base, position, end, readable, out, capacity, classes):
    """As `scan_gpt2`, for Qwen 2: each digit is a pretoken."""
    count = 0
    while position < end and count < capacity:
        place = base + position
        position = _next_end(place, base + end, base + readable, classes, 1) - base
        if position > FARTHEST:
            return count
        store32(out + 4 * count, position)
        count += 1
    return count


@inlined
def _next_end(address, end, limit, classes, most_numbers):
    """Return where the pretoken ends that begins at `address`.

    Args:
        address: where a pretoken begins.
        end: where the text ends, behind `address`.
        limit: behind the last byte that may be read.
        classes: address of the class table.
        most_numbers: how many numbers make a pretoken.
    """
    kind, num_bytes = class_and_width(address, end, classes)
    place = address + num_bytes
    if kind & LETTER:
        return letters_end(place, end, limit, classes)
    if kind == NUMBER:
        return numbers_end(place, end, classes, most_numbers - 1)
    first = load8(address)
    if first == APOSTROPHE:
        contraction = contraction_bytes(address, end)
        if contraction:
            return address + contraction
    if kind != NEWLINE and place < end:
        second_kind, second_bytes = class_and_width(place, end, classes)
        if second_kind & LETTER:
            return letters_end(place + second_bytes, end, limit, classes)
        if first == SPACE_BYTE and second_kind & SYMBOL:
            kind, place = second_kind, place + second_bytes
    if kind & SYMBOL:
        return newlines_end(symbols_end(place, end, classes), end, 0xA)
    return whites_end(address, end, limit, classes)
