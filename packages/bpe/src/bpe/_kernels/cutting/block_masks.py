"""Mask white space, numbers and symbols in 64 bytes, and where their pretokens begin.

Stage: text -> *pretokens*; shared by the scanners of cl100k, Qwen 2 and o200k. A block begins
where a pretoken does, so nothing is carried into it; bit 0 of a mask is its first byte. All masks
are limited to the known bytes. To follow runs to the right without a loop, a bit is added at their
first place: the carry runs through the ones and comes out after the run. Not here: letters
(`words`, `o200k`).
"""

from bpe._kernels.compiling import inlined
from bpe._kernels.cutting.character_runs import SPACE_BYTE
from bpe._kernels.machine import leading_zeros, shift_right, trailing_zeros
from bpe._kernels.vectors import BLOCK, where_between, where_equal, where_letter_of

SEEN_BYTES = BLOCK + 2  # a block, and two bytes for a contraction that begins in its last byte

_D, _E, _L, _M, _R, _S, _T, _V = (ord(letter) for letter in "delmrstv")


@inlined
def lowest(num_bits):
    """Return a mask of the lowest bits, for any number of them."""
    if num_bits >= BLOCK:
        return -1
    if num_bits <= 0:
        return 0
    return (1 << num_bits) - 1


@inlined
def highest_place(mask):
    """Return the place of the highest bit; at least one is set."""
    return BLOCK - 1 - leading_zeros(mask)


@inlined
def first_place(mask):
    """Return the place of the lowest bit, 64 if none is set."""
    return trailing_zeros(mask) if mask else BLOCK


@inlined
def whole_characters(address, leads):
    """Return how many of 64 bytes come before a character that may cross their end."""
    crossing = leads & (1 << 63)
    crossing |= where_between(address, 0xE0, 0xFF) & (1 << 62)
    crossing |= where_between(address, 0xF0, 0xFF) & (1 << 61)
    return first_place(crossing)


@inlined
def letter_leads(address, num_rest):
    """Find characters that their first byte (and a little more) identifies as letters.

    Returns:
        Masks of the first bytes of such letters of two bytes (Latin, Cyrillic), and of three
        (kana, ideographs U+4E00 to U+9FFF, Hangul U+B000 to U+CFFF: letters without case).
    """
    second, third = address + 1, address + 2
    continuations = where_between(address, 0x80, 0xBF) & lowest(num_rest)
    times_or_division = where_equal(second, 0x97) | where_equal(second, 0xB7)
    two = where_equal(address, 0xC3) & ~times_or_division
    two |= where_between(address, 0xC4, 0xCA) | where_between(address, 0xD0, 0xD1)
    kana = where_equal(second, 0x81) & ~where_equal(third, 0x80)
    kana |= where_equal(second, 0x83) & ~where_equal(third, 0xBB)
    three = where_equal(address, 0xE3) & kana
    three |= where_equal(address, 0xE4) & where_between(second, 0xB8, 0xBF)
    three |= where_between(address, 0xE5, 0xE9) | where_between(address, 0xEB, 0xEC)
    two &= shift_right(continuations, 1)
    three &= shift_right(continuations, 1) & shift_right(continuations, 2)
    return two, three


@inlined
def cased_leads(address):
    """Find the case of the two-byte letters U+00C0 to U+045F that `letter_leads` has found.

    Returns:
        Masks of the first bytes of capitals, and of small letters.
    """
    latin, cyrillic = where_equal(address, 0xC3), where_equal(address, 0xD0)
    capitals = latin & where_between(address + 1, 0x80, 0x9E)
    capitals |= cyrillic & where_between(address + 1, 0x80, 0xAF)
    small = latin & where_between(address + 1, 0x9F, 0xBF)
    small |= cyrillic & where_between(address + 1, 0xB0, 0xBF)
    return capitals, small | (where_equal(address, 0xD1) & where_between(address + 1, 0x80, 0x9F))


@inlined
def white_masks(address, known):
    """Return masks of white space, of newlines, and of single spaces."""
    spaces = where_equal(address, SPACE_BYTE) & known
    newlines = (where_equal(address, 0xA) | where_equal(address, 0xD)) & known
    return spaces | (where_between(address, 0x9, 0xD) & known), newlines, spaces


@inlined
def white_starts(whites, newlines, taken, num_known):
    r"""Mask where pretokens of white space begin.

    Those are `\s*[\r\n]+`, `\s+(?!\S)`, and the last white character on its own, which may become
    the first of a word or of symbols.

    Args:
        whites: white space, including CR and LF.
        newlines: CR and LF.
        taken: the newlines that belong to symbols before them.
        num_known: bytes for which the masks are valid.
    """
    blanks = whites & ~newlines
    runs = whites & ~taken
    starts = runs & ~(runs << 1)
    # Blanks after a newline are a pretoken unless another newline follows them.
    behind_newline = blanks & (newlines << 1)
    dropped = (blanks + behind_newline) & ~blanks & newlines
    while dropped != 0:
        behind_newline &= ~(1 << highest_place(behind_newline & lowest(trailing_zeros(dropped))))
        dropped &= dropped - 1
    return starts | behind_newline | (blanks & ~shift_right(whites, 1) & lowest(num_known - 1))


@inlined
def certain_starts(starts, whites, num_known):
    """Remove starts that the bytes after the known ones may change: those in a final white run."""
    if shift_right(whites, num_known - 1) & 1:
        visible = ~whites & lowest(num_known)
        begin = highest_place(visible) + 1 if visible else 0
        inside = starts & ~lowest(begin)
        if inside:
            starts &= lowest(trailing_zeros(inside) + 1)
    return starts


@inlined
def triples(numbers):
    """Mask every third place of each run, starting with its first."""
    found = numbers & ~(numbers << 1)
    third = numbers & (numbers << 1) & (numbers << 2)
    more = (found << 3) & third
    while more != 0:
        found |= more
        more = (more << 3) & third
    return found


@inlined
def contractions(address, apostrophes, num_rest):
    """Mask apostrophes followed by one of s t m d, and those followed by ll ve re.

    Args:
        address: of the block.
        apostrophes: which of them to examine.
        num_rest: bytes from `address` on that belong to the text.
    """
    second, third = address + 1, address + 2
    short = where_letter_of(second, _S, _T, _M, _D)
    long = where_letter_of(second, _L, _L, _L, _L) & where_letter_of(third, _L, _L, _L, _L)
    long |= where_letter_of(second, _R, _V, _R, _V) & where_letter_of(third, _E, _E, _E, _E)
    # U+017F, the long s, is an s if case is ignored.
    long |= where_equal(second, 0xC5) & where_equal(third, 0xBF)
    return short & apostrophes & lowest(num_rest - 1), long & apostrophes & lowest(num_rest - 2)
