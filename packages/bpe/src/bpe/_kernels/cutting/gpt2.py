"""Scan text for the ends of the pretokens of the GPT-2 pattern.

Stage: text -> *pretokens*. Each block of 64 bytes becomes a few masks, one bit per byte: letters,
numbers, white space, and the rest. A pretoken begins where a byte's class differs from that of the
byte before; shifts of the masks find this for all 64 at once. `_next_end` handles what masks
cannot, one character at a time: white space of several bytes and the last bytes of a buffer. Not
here: special tokens (`special_search`) and batches (`cutter`).

Nothing is carried over a border of pretokens, so a scan may begin wherever a pretoken does: after
a full batch, after a special token, after what had to be done character by character.
"""

from bpe._kernels.compiling import helper, inlined
from bpe._kernels.cutting.block_masks import SEEN_BYTES, letter_leads, lowest, whole_characters
from bpe._kernels.cutting.character_classes import (
    LETTER,
    MARK,
    NUMBER,
    OTHER,
    WHITE,
    class_and_width,
)
from bpe._kernels.cutting.character_runs import APOSTROPHE, SPACE_BYTE, contraction_length
from bpe._kernels.machine import load8, load32, min_signed, shift_right, store32, trailing_zeros
from bpe._kernels.vectors import (
    BLOCK,
    list_bits,
    where_between,
    where_equal,
    where_letter,
    where_one_of,
)

FARTHEST = 1 << 30
"""Bytes after `base` at which a scan gives up, so every end fits into 32 bits."""

_D, _E, _L, _M, _R, _S, _T, _V = (ord(letter) for letter in "delmrstv")


@helper
def scan_gpt2(base, position, end, readable, out, capacity, classes):
    """List where the pretokens of base[position:end] end.

    Args:
        base: address that all positions and ends are relative to.
        position: a place where a pretoken begins.
        end: where the text ends.
        readable: bytes after `base` that may be read, at least `end`.
        out: address of capacity + 160 int32; the ends go there.
        capacity: the scan stops after this many ends, or up to 64 more.
        classes: address of the class table.

    Returns:
        The number of ends; the next scan begins at the last. 0 if a pretoken is too long.
    """
    block, count = position, 0
    letter_before = number_before = other_before = space_before = white_before = 0
    undecided, dropped, added = 0, 1, 0
    while block < end and count < capacity and block < FARTHEST:
        address = base + block
        letters = numbers = whites = width = 0
        if block + SEEN_BYTES <= readable:
            letters, numbers, whites, width = _look(address, end - block, classes)
        if width == 0:
            block, count = _scan_characters(
                base, position, block, end, out, count, capacity, classes
            )
            if block < 0 or block >= end:
                return count
            letter_before = number_before = other_before = space_before = white_before = 0
            undecided, dropped, added = 0, 1, 0
            continue
        others = ~(letters | numbers | whites)
        spaces = where_equal(address, SPACE_BYTE)
        same = letters & ((letters << 1) | letter_before)
        same |= numbers & ((numbers << 1) | number_before)
        same |= others & ((others << 1) | other_before)
        # A visible run begins where its class does, unless a space before it belongs to it; white
        # space begins where it does, and again at its last character.
        starts = ~(whites | same | (spaces << 1) | space_before)
        starts |= whites & ~((whites << 1) | white_before)
        starts |= whites & ~(shift_right(whites, 1) | (1 << (width - 1)))
        contracting = starts & where_equal(address, APOSTROPHE)
        starts = (starts & ~dropped) | added
        dropped = added = 0
        if contracting != 0:
            starts, dropped, added = _contract(address, contracting, starts, end - block, width)
        # Only now is the last character known of white space that ended with the last block.
        store32(out + 4 * count, block - 1)
        count += undecided & ~whites & 1
        starts &= lowest(width)
        last = width - 1
        letter_before = shift_right(letters, last) & 1
        number_before = shift_right(numbers, last) & 1
        other_before = shift_right(others, last) & 1
        space_before = shift_right(spaces, last) & 1
        white_before = shift_right(whites, last) & 1
        undecided = white_before & ~shift_right(starts, last)
        count += list_bits(out + 4 * count, starts, block)
        block += width
    if block >= end and position < end:
        store32(out + 4 * count, end)
        count += 1
    return count


@inlined
def _look(address, rest, classes):
    """Class the bytes of a block, of which `rest` belong to the text.

    Returns:
        Masks of letters, numbers and white space, and for how many bytes they are valid: less than
        a block if a character crosses its end, 0 if there is white space of several bytes.
    """
    width = min_signed(rest, BLOCK)
    letters = where_letter(address)
    numbers = where_between(address, 0x30, 0x39)
    whites = where_equal(address, SPACE_BYTE) | where_between(address, 0x9, 0xD)
    leads = where_between(address, 0xC0, 0xFF)
    if leads == 0:
        return letters, numbers, whites, width
    width = min_signed(width, whole_characters(address, leads))
    leads &= lowest(width)
    two, three = letter_leads(address, rest)
    two &= leads
    three &= leads
    letters |= two | (two << 1) | three | (three << 1) | (three << 2)
    leads &= ~(two | three)
    text_end = address + rest
    while leads != 0:
        place = trailing_zeros(leads)
        leads &= leads - 1
        kind, num_bytes = class_and_width(address + place, text_end, classes)
        covered = ((1 << num_bytes) - 1) << place
        if kind & LETTER:
            letters |= covered
        elif kind == NUMBER:
            numbers |= covered
        elif kind & WHITE:
            return letters, numbers, whites, 0
    return letters, numbers, whites, width


@inlined
def _contract(address, apostrophes, starts, rest, width):
    """Cut after 's 'd 'm 't 'll 've 're instead of after their apostrophe.

    Returns:
        The starts; those to drop from the next block, and those to add to it.
    """
    short = where_one_of(address + 1, _S, _D, _M, _T)
    long = where_equal(address + 1, _L) & where_equal(address + 2, _L)
    long |= where_one_of(address + 1, _V, _R, _V, _R) & where_equal(address + 2, _E)
    short &= apostrophes & lowest(rest - 1) & lowest(width)
    long &= apostrophes & lowest(rest - 2) & lowest(width)
    both = short | long
    starts = (starts & ~(both << 1)) | (short << 2) | (long << 3)
    if width < 3:  # the text ends here
        return starts, 0, 0
    added = shift_right(short, width - 2) | shift_right(long, width - 3)
    return starts, shift_right(both, width - 1), added


@helper
def _scan_characters(base, position, block, end, out, count, capacity, classes):
    """List the ends of the pretokens that begin before or in this block, one by one.

    Returns:
        Where the next pretoken begins (-1 if the scan must stop), and the new count.
    """
    if count > 0:
        position = load32(out + 4 * (count - 1))
    stop = min_signed(end, block + BLOCK)
    while position < stop and count < capacity:
        position = _next_end(base + position, base + end, classes) - base
        if position > FARTHEST + BLOCK:
            return -1, count
        store32(out + 4 * count, position)
        count += 1
    return position, count


@inlined
def _next_end(address, end, classes):
    """Return where the pretoken that begins at `address` ends; the text ends at `end`."""
    first = load8(address)
    if first == APOSTROPHE and address + 1 < end:
        third = load8(address + 2) if address + 2 < end else 0
        num_bytes = contraction_length(load8(address + 1), third)
        if num_bytes:
            return address + num_bytes
    start = address
    if first == SPACE_BYTE and address + 1 < end:
        start += 1
    kind, num_bytes = class_and_width(start, end, classes)
    if kind & WHITE:
        return _white_end(address, end, classes)
    alike = kind
    if kind & LETTER:
        alike = LETTER
    elif kind & (OTHER | MARK):
        alike = OTHER | MARK
    start += num_bytes
    while start < end:
        kind, num_bytes = class_and_width(start, end, classes)
        if not kind & alike:
            break
        start += num_bytes
    return start


@inlined
def _white_end(address, end, classes):
    r"""Return the end of `\s+(?!\S)|\s+`: the last white character goes to a visible one."""
    place, last = address, address
    while place < end:
        kind, num_bytes = class_and_width(place, end, classes)
        if not kind & WHITE:
            if last > address:
                return last
            break
        last = place
        place += num_bytes
    return place
