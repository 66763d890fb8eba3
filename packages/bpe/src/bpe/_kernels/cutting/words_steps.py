r"""Find where one pretoken of cl100k, Llama 3 or Qwen 2 ends.

Stage: text -> *pretokens*, one at a time, where `words` cannot see 64 bytes at once. The first one
or two characters of a pretoken decide which alternative of the pattern matches. Where the pattern
would try an alternative and backtrack, the result is known in advance: `\s*[\r\n]+` ends at the
last newline of its white space, `\s+(?!\S)` before the last white character. At most three
pretokens share a run of white space, so no run is read more than three times. Not here: o200k
(`o200k_steps`).
"""

from bpe._kernels.compiling import helper
from bpe._kernels.cutting.character_classes import LETTER, NEWLINE, NUMBER, class_and_width
from bpe._kernels.cutting.character_runs import (
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
from bpe._kernels.machine import load8


@helper
def next_end(address, end, limit, classes, most_numbers):
    """Return where the pretoken that begins at `address` ends; arguments as in `character_runs`."""
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
