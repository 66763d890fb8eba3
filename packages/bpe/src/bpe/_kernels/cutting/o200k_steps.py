r"""Find where one pretoken of o200k ends.

Stage: text -> *pretokens*, one at a time, as in `words_steps`; but a word also ends before a
capital that follows a small letter, keeps a contraction after it, and includes marks. Let U be
capitals, letters without case and marks, and L small letters, letters without case and marks: the
pattern first tries `U*L+`, giving back what U took too much, then `U+L*`. So a word is

- a run of U and all of L after it, if that begins with a small letter;
- otherwise the run of U up to its last character that is also in L;
- otherwise, if all of it is capitals, the run of U.

Whatever is read and not used is a run of capitals, which is the next word: no byte is read more
than three times. Not here: whole blocks (`o200k`).
"""

from bpe._kernels.compiling import helper, inlined
from bpe._kernels.cutting.character_classes import (
    BOTH,
    LETTER,
    LOWER,
    MARK,
    NEWLINE,
    NUMBER,
    UPPER,
    class_and_width,
)
from bpe._kernels.cutting.character_runs import (
    SLASH,
    SPACE_BYTE,
    SYMBOL,
    contraction_bytes,
    newlines_end,
    numbers_end,
    symbols_end,
    whites_end,
)
from bpe._kernels.machine import load8, shift_right, trailing_zeros
from bpe._kernels.vectors import BLOCK, where_between

_EITHER = BOTH | MARK
_NO_WORD, _ENDS_IN_LOWER, _ALL_UPPER = 0, 1, 2


@helper
def next_end(address, end, limit, classes):
    """Return where the pretoken that begins at `address` ends; arguments as in `character_runs`."""
    kind, num_bytes = class_and_width(address, end, classes)
    place = address + num_bytes
    if kind == NUMBER:
        return numbers_end(place, end, classes, 2)
    if kind != NEWLINE:
        # One character that is not a letter may come first; a mark may be it, or the word itself.
        word_end, shape = _word_end(address if kind & LETTER else place, end, limit, classes)
        if shape == _ALL_UPPER and kind == MARK:
            word_end = place
        if shape == _NO_WORD and kind == MARK:
            word_end, shape = place, _ENDS_IN_LOWER
        if shape != _NO_WORD:
            return word_end + contraction_bytes(word_end, end)
    if load8(address) == SPACE_BYTE and place < end:
        second_kind, second_bytes = class_and_width(place, end, classes)
        if second_kind & SYMBOL:
            kind, place = second_kind, place + second_bytes
    if kind & SYMBOL:
        return newlines_end(symbols_end(place, end, classes), end, SLASH)
    return whites_end(address, end, limit, classes)


@helper
def _word_end(address, end, limit, classes):
    """Return where the word at `address` ends, and its shape: none, ending in L, all capitals."""
    if address + BLOCK <= limit:
        num_upper = trailing_zeros(~where_between(address, 0x41, 0x5A) | (1 << 63))
        lowers = shift_right(where_between(address, 0x61, 0x7A), num_upper)
        num_lower = trailing_zeros(~lowers | (1 << 63))
        word_end = address + num_upper + num_lower
        if word_end < end and word_end < address + BLOCK - 1 and load8(word_end) < 0x80:
            if num_lower:
                return word_end, _ENDS_IN_LOWER
            return word_end, _ALL_UPPER if num_upper else _NO_WORD
    return _long_word_end(address, end, classes)


@inlined
def _long_word_end(address, end, classes):
    place, behind_either = address, 0
    kind, num_bytes = 0, 0
    while place < end:
        kind, num_bytes = class_and_width(place, end, classes)
        if not kind & (UPPER | _EITHER):
            break
        place += num_bytes
        if kind & _EITHER:
            behind_either = place
    uppers_end = place
    while place < end:
        kind, num_bytes = class_and_width(place, end, classes)
        if not kind & (LOWER | _EITHER):
            break
        place += num_bytes
    if place > uppers_end:
        return place, _ENDS_IN_LOWER
    if behind_either:
        return behind_either, _ENDS_IN_LOWER
    return uppers_end, _ALL_UPPER if uppers_end > address else _NO_WORD
