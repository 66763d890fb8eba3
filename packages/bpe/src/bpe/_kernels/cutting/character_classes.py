"""Hold the class of each code point in a table for scanners.

Stage: text -> *pretokens*. One byte per code point and one bit per class, so a test for a set of
classes is a single AND. Not here: which Unicode version (`bpe.unicode_classes`), and decisions
based on the classes (`gpt2`, `words`).
"""

from functools import cache

import numpy as np

from bpe._kernels.compiling import inlined
from bpe._kernels.machine import load8
from bpe.unicode_classes import class_ranges

OTHER, MARK, NUMBER, SPACE, NEWLINE, UPPER, LOWER, BOTH = (1 << bit for bit in range(8))
"""The classes; NEWLINE: CR and LF, SPACE: all other white space, BOTH: letters without case."""
WHITE = SPACE | NEWLINE
LETTER = UPPER | LOWER | BOTH

_GENERAL_CATEGORIES = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER, "Lm": BOTH, "Lo": BOTH}
_GENERAL_CATEGORIES |= {"M": MARK, "N": NUMBER}
# The property White_Space, the same in every Unicode version since 6.3.
_WHITE_SPACE = [(0x9, 0xD), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680)]
_WHITE_SPACE += [(0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F)]
_WHITE_SPACE += [(0x3000, 0x3000)]
_NUM_DECODABLE = 1 << 21  # anything that four bytes can decode to is in range


@cache
def class_table() -> np.ndarray:
    """Return the class of every code point: (2^21,) uint8, read-only."""
    table = np.full(_NUM_DECODABLE, OTHER, np.uint8)
    for category, value in _GENERAL_CATEGORIES.items():
        for low, high in class_ranges(category):
            table[low : high + 1] = value
    for low, high in _WHITE_SPACE:
        table[low : high + 1] = SPACE
    table[[ord("\r"), ord("\n")]] = NEWLINE
    table.flags.writeable = False
    return table


@inlined
def _is_continuation(byte):
    return byte & 0xC0 == 0x80


@inlined
def class_and_width(address, end, classes):
    """Return the class of the character at `address`, and its bytes; reads nothing from `end` on.

    A byte that does not begin a complete sequence of lead and continuations is OTHER on its own, so
    the borders in text that is not UTF-8 depend only on its bytes.
    """
    lead = load8(address)
    if lead < 0x80:
        return load8(classes + lead), 1
    if lead < 0xC0 or address + 1 >= end:
        return OTHER, 1
    second = load8(address + 1)
    if not _is_continuation(second):
        return OTHER, 1
    if lead < 0xE0:
        return load8(classes + (((lead & 0x1F) << 6) | (second & 0x3F))), 2
    return _class_of_long(address, end, classes, lead, second)


@inlined
def _class_of_long(address, end, classes, lead, second):
    """Class a sequence of three or four bytes, of which two are known."""
    if address + 2 >= end:
        return OTHER, 1
    third = load8(address + 2)
    if not _is_continuation(third):
        return OTHER, 1
    code_point = ((second & 0x3F) << 6) | (third & 0x3F)
    if lead < 0xF0:
        return load8(classes + (((lead & 0xF) << 12) | code_point)), 3
    if address + 3 >= end:
        return OTHER, 1
    fourth = load8(address + 3)
    if not _is_continuation(fourth):
        return OTHER, 1
    code_point = ((lead & 7) << 18) | (code_point << 6) | (fourth & 0x3F)
    return load8(classes + code_point), 4
