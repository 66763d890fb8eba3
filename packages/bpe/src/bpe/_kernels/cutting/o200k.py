r"""Scan text for the ends of the pretokens of o200k.

Stage: text -> *pretokens*. Works like `words`, but here a word also ends where a capital follows a
small letter, keeps a contraction after it, and symbols take slashes among the newlines after them.
Where masks do not suffice, the known part of the block ends: at marks after symbols, and at
capitals after letters without case. Not here: single pretokens (`o200k_steps`).
"""

from bpe._kernels.compiling import helper, inlined
from bpe._kernels.cutting.block_masks import (
    SEEN_BYTES,
    cased_leads,
    certain_starts,
    contractions,
    first_place,
    highest_place,
    letter_leads,
    lowest,
    triples,
    white_masks,
    white_starts,
    whole_characters,
)
from bpe._kernels.cutting.character_classes import (
    BOTH,
    LOWER,
    MARK,
    NUMBER,
    UPPER,
    WHITE,
    class_and_width,
)
from bpe._kernels.cutting.character_runs import APOSTROPHE, SLASH, SYMBOL
from bpe._kernels.cutting.gpt2 import FARTHEST
from bpe._kernels.cutting.o200k_steps import next_end
from bpe._kernels.machine import load8, min_signed, shift_right, store32, trailing_zeros
from bpe._kernels.vectors import BLOCK, list_bits, where_between, where_equal


@helper
def scan_o200k(base, position, end, readable, out, capacity, classes):
    """As `scan_gpt2`, for o200k."""
    count = 0
    while position < end and count < capacity and position < FARTHEST:
        address, starts, num_known = base + position, 0, 0
        if position + SEEN_BYTES <= readable:
            starts, num_known = _starts(address, end - position, classes)
        if starts != 0:
            count += list_bits(out + 4 * count, starts, position)
            if num_known < end - position:
                position += highest_place(starts)
                continue
            position = end
        elif num_known > 0 and num_known == end - position:
            position = end
        else:
            position = next_end(address, base + end, base + readable, classes) - base
        if position > FARTHEST:
            return count
        store32(out + 4 * count, position)
        count += 1
    return count


@inlined
def _starts(address, num_rest, classes):
    """Find where pretokens begin in a block, except its first byte; as in `words`."""
    uppers, lowers, boths, inner, num_known = _letters(address, num_rest, classes)
    num_known = min_signed(num_known, first_place(uppers & (boths << 1)))
    if num_known == 0:
        return 0, 0
    known = lowest(num_known)
    letters = (uppers | lowers | boths) & known
    numbers = where_between(address, 0x30, 0x39) & known
    whites, newlines, spaces = white_masks(address, known)
    symbols = known & ~(letters | numbers | whites)
    first_symbols = symbols & ~((symbols << 1) | (spaces << 1))
    taken = newlines & (symbols << 1)
    taken = newlines & ~(newlines + taken)
    slashes = where_equal(address, SLASH) & symbols
    if slashes & (taken << 1):
        taken, first_symbols = _take_slashes(taken, newlines, slashes, symbols, first_symbols)
    starts = white_starts(whites, newlines, taken, num_known)
    # A word takes one character before it that begins a pretoken and is not a newline.
    in_front = ((whites & ~newlines) << 1) | (((first_symbols << 1) + inner) & ~inner)
    starts |= first_symbols | (letters & ~((letters << 1) | in_front))
    starts |= (uppers & (lowers << 1) & known) | triples(numbers)
    apostrophes = symbols & (letters << 1) & where_equal(address, APOSTROPHE)
    if apostrophes != 0:
        starts, limit = _contract(address, apostrophes, starts, num_rest)
        num_known = min_signed(num_known, limit)
        starts &= lowest(num_known)
    if num_known < num_rest:
        starts = certain_starts(starts, whites, num_known)
    return starts & ~1, num_known


@inlined
def _take_slashes(taken, newlines, slashes, symbols, first_symbols):
    r"""Continue `[\r\n/]*` after symbols, whose newlines come first.

    Returns:
        Masks of the newlines that are taken, and of the first characters of symbols that are not.
    """
    taken_slashes = 0
    behind = slashes & (taken << 1)
    while behind != 0:
        taken_slashes |= slashes & ~(slashes + behind)
        more = newlines & (taken_slashes << 1) & ~taken
        taken |= newlines & ~(newlines + more)
        behind = slashes & (taken << 1) & ~taken_slashes
    first_symbols &= ~taken_slashes
    return taken, first_symbols | (symbols & ~slashes & (taken_slashes << 1))


@inlined
def _contract(address, apostrophes, starts, num_rest):
    """Join contractions to the words before them, and begin again after them.

    Returns:
        The starts; and for how many bytes they are valid: up to an apostrophe after a contraction,
        which begins a pretoken and not another contraction.
    """
    short, long = contractions(address, apostrophes, num_rest)
    both = short | long
    starts &= ~(both | (both << 1) | (long << 2))
    starts |= (short << 2) | (long << 3)
    chained = both & ((short << 2) | (long << 3))
    if chained != 0:
        limit = trailing_zeros(chained)
        return starts | (1 << limit), limit + 1
    return starts, BLOCK


@inlined
def _letters(address, num_rest, classes):
    """Find the letters of a block.

    Returns:
        Masks of capitals, small letters, letters without case, and all bytes of characters except
        their first; and how many bytes are known, up to white space or a number that is not ASCII,
        or to a mark after a symbol.
    """
    num_known = min_signed(num_rest, BLOCK)
    uppers, lowers = where_between(address, 0x41, 0x5A), where_between(address, 0x61, 0x7A)
    boths = inner = 0
    leads = where_between(address, 0xC0, 0xFF)
    if leads == 0:
        return uppers, lowers, boths, inner, num_known
    num_known = min_signed(num_known, whole_characters(address, leads))
    leads &= lowest(num_known)
    two, three = letter_leads(address, num_rest)
    capitals, small = cased_leads(address)
    capitals &= two & leads
    small &= two & leads
    three &= leads
    uppers |= capitals | (capitals << 1)
    lowers |= small | (small << 1)
    boths = three | (three << 1) | (three << 2)
    inner = ((capitals | small | three) << 1) | (three << 2)
    leads &= ~(capitals | small | three)
    while leads != 0:
        place = trailing_zeros(leads)
        leads &= leads - 1
        kind, num_bytes = class_and_width(address + place, address + num_rest, classes)
        if kind & (WHITE | NUMBER):
            return uppers, lowers, boths, inner, place
        if kind == MARK:
            # Like a letter without case, unless it follows symbols and may be one of them.
            if _is_behind_symbol(address, place, uppers | lowers | boths, classes):
                return uppers, lowers, boths, inner, place
            kind = BOTH
        covered = ((1 << num_bytes) - 1) << place
        inner |= covered & ~(1 << place)
        if kind == UPPER:
            uppers |= covered
        elif kind == LOWER:
            lowers |= covered
        elif kind == BOTH:
            boths |= covered
    return uppers, lowers, boths, inner, num_known


@inlined
def _is_behind_symbol(address, place, letters, classes):
    """Whether the character before `place` is a symbol of the same block."""
    if place == 0 or shift_right(letters, place - 1) & 1:
        return False
    byte = load8(address + place - 1)
    return byte >= 0x80 or load8(classes + byte) & SYMBOL != 0
