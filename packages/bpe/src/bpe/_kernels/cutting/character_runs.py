"""Find where a run of one kind of character ends.

Stage: text -> *pretokens*; shared by the scanners of cl100k, Qwen 2 and o200k. All functions take
addresses: `place` where the run continues, `end` where the text ends, `limit` after the last byte
that may be read. Runs of ASCII are measured 64 bytes at a time if that many may be read; other
characters are looked up in the class table. Not here: which run to look for.
"""

from bpe._kernels.compiling import helper, inlined
from bpe._kernels.cutting.character_classes import (
    LETTER,
    MARK,
    NEWLINE,
    NUMBER,
    OTHER,
    WHITE,
    class_and_width,
)
from bpe._kernels.machine import leading_zeros, load8, min_signed, shift_right, trailing_zeros
from bpe._kernels.vectors import BLOCK, where_between, where_equal, where_letter

SYMBOL = OTHER | MARK
SPACE_BYTE, APOSTROPHE, SLASH = 0x20, 0x27, 0x2F

_CASE = 0x20  # the bit that distinguishes a small ASCII letter from its capital
_SHORT = sum(1 << (byte & 0x1F) for byte in b"stmd")
_LL, _VE, _RE = (int.from_bytes(pair, "little") for pair in (b"ll", b"ve", b"re"))
_LONG_S = tuple("\u017f".encode())  # an s if case is ignored


@inlined
def letters_end(place, end, limit, classes):
    r"""Return where `\p{L}*` ends."""
    while place < end:
        if place + BLOCK <= limit:
            visible = ~where_letter(place)
            if visible == 0:
                place += BLOCK
                continue
            place += trailing_zeros(visible)
            if place >= end or load8(place) < 0x80:
                break
        kind, num_bytes = class_and_width(place, end, classes)
        if not kind & LETTER:
            break
        place += num_bytes
    return min_signed(place, end)


@inlined
def numbers_end(place, end, classes, most):
    r"""Return where `\p{N}{0,most}` ends."""
    while place < end and most > 0:
        kind, num_bytes = class_and_width(place, end, classes)
        if kind != NUMBER:
            break
        place += num_bytes
        most -= 1
    return place


@inlined
def symbols_end(place, end, classes):
    r"""Return where `[^\s\p{L}\p{N}]*` ends."""
    while place < end:
        kind, num_bytes = class_and_width(place, end, classes)
        if not kind & SYMBOL:
            break
        place += num_bytes
    return place


@inlined
def newlines_end(place, end, other):
    r"""Return where `[\r\n]*` ends, or the same with one `other` byte in the set."""
    while place < end:
        byte = load8(place)
        if byte != 0xA and byte != 0xD and byte != other:
            break
        place += 1
    return place


@helper
def whites_end(address, end, limit, classes):
    r"""Return where `\s*[\r\n]+|\s+(?!\S)|\s+` ends; there is white space at `address`."""
    if address + BLOCK <= limit:
        newlines = where_equal(address, 0xA) | where_equal(address, 0xD)
        visible = ~(where_equal(address, SPACE_BYTE) | where_between(address, 0x9, 0xD))
        if visible != 0:
            num_white = trailing_zeros(visible)
            rest = end - address
            if num_white < rest and load8(address + num_white) < 0x80:
                newlines &= shift_right(-1, BLOCK - num_white)  # there is at least one byte
                if newlines != 0:
                    return address + BLOCK - leading_zeros(newlines)
                return address + num_white - (num_white > 1)
    return _long_whites_end(address, end, classes)


@inlined
def _long_whites_end(address, end, classes):
    place = last = address
    behind_newline = 0
    while place < end:
        kind, num_bytes = class_and_width(place, end, classes)
        if not kind & WHITE:
            break
        last = place
        place += num_bytes
        if kind == NEWLINE:
            behind_newline = place
    if behind_newline:
        return behind_newline
    # A visible character takes the last white one, unless it is the only one.
    return place if place >= end or last == address else last


@inlined
def contraction_bytes(address, end):
    """Return the length of `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at `address`, 0 if there is none."""
    rest = end - address
    if rest < 2 or load8(address) != APOSTROPHE:
        return 0
    second, third = load8(address + 1), 0
    if rest > 2:
        third = load8(address + 2)
        if second == _LONG_S[0] and third == _LONG_S[1]:
            return 3
    return contraction_length(second | _CASE, third | _CASE)


@inlined
def contraction_length(second, third):
    """Return the length of the contraction that an apostrophe and two small letters make, or 0."""
    if second & 0xE0 == 0x60 and shift_right(_SHORT, second & 0x1F) & 1:
        return 2
    pair = second | (third << 8)
    return 3 * ((pair == _LL) | (pair == _VE) | (pair == _RE))
