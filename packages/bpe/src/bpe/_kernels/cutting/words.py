r"""Scan text for the ends of the pretokens of cl100k, Llama 3 and Qwen 2.

Stage: text -> *pretokens*. As in `gpt2`, 64 bytes become masks, and the masks give the starts of
pretokens; but each block begins at a pretoken, the last that was found. So nothing is carried from
block to block, and what the end of a block leaves open is examined again at the beginning of the
next. What masks cannot decide is done one pretoken at a time: white space and numbers of several
bytes, pretokens longer than a block, and the last bytes of a buffer. Not here: single pretokens
(`words_steps`).
"""

from bpe._kernels.compiling import helper, inlined
from bpe._kernels.cutting.block_masks import (
    SEEN_BYTES,
    certain_starts,
    contractions,
    highest_place,
    letter_leads,
    lowest,
    triples,
    white_masks,
    white_starts,
    whole_characters,
)
from bpe._kernels.cutting.character_classes import LETTER, NUMBER, WHITE, class_and_width
from bpe._kernels.cutting.character_runs import APOSTROPHE
from bpe._kernels.cutting.gpt2 import FARTHEST
from bpe._kernels.cutting.words_steps import next_end
from bpe._kernels.machine import min_signed, store32, trailing_zeros
from bpe._kernels.vectors import BLOCK, list_bits, where_between, where_equal, where_letter


@helper
def scan_words(base, position, end, readable, out, capacity, classes, most_numbers):
    """As `scan_gpt2`, for cl100k and Llama 3 with `most_numbers` 3, for Qwen 2 with 1."""
    count = 0
    while position < end and count < capacity and position < FARTHEST:
        address, starts, num_known = base + position, 0, 0
        if position + SEEN_BYTES <= readable:
            starts, num_known = _starts(address, end - position, classes, most_numbers)
        if starts != 0:
            count += list_bits(out + 4 * count, starts, position)
            if num_known < end - position:
                position += highest_place(starts)
                continue
            position = end
        elif num_known > 0 and num_known == end - position:
            position = end
        else:
            position = next_end(address, base + end, base + readable, classes, most_numbers) - base
        if position > FARTHEST:
            return count
        store32(out + 4 * count, position)
        count += 1
    return count


@inlined
def _starts(address, num_rest, classes, most_numbers):
    """Find where pretokens begin in a block, except its first byte.

    Args:
        address: where a pretoken begins.
        num_rest: bytes from there to the end of the text.
        classes: address of the class table.
        most_numbers: how many numbers make a pretoken.

    Returns:
        A mask; and how many bytes are known, `num_rest` if all of them are.
    """
    letters, inner, num_known = _letters(address, num_rest, classes)
    if num_known == 0:
        return 0, 0
    known = lowest(num_known)
    letters &= known
    numbers = where_between(address, 0x30, 0x39) & known
    whites, newlines, spaces = white_masks(address, known)
    symbols = known & ~(letters | numbers | whites)
    taken = newlines & (symbols << 1)
    taken = newlines & ~(newlines + taken)
    starts = white_starts(whites, newlines, taken, num_known)
    first_symbols = symbols & ~((symbols << 1) | (spaces << 1))
    # A word takes one character before it that begins a pretoken and is not a newline.
    in_front = ((whites & ~newlines) << 1) | (((first_symbols << 1) + inner) & ~inner)
    starts |= first_symbols | (letters & ~((letters << 1) | in_front))
    starts |= numbers if most_numbers == 1 else triples(numbers)
    apostrophes = first_symbols & where_equal(address, APOSTROPHE)
    if apostrophes != 0:
        short, long = contractions(address, apostrophes, num_rest)
        starts |= ((short << 2) | (long << 3)) & known
    if num_known < num_rest:
        starts = certain_starts(starts, whites, num_known)
    return starts & ~1, num_known


@inlined
def _letters(address, num_rest, classes):
    """Find the letters of a block.

    Returns:
        Masks of letters, and of all bytes of characters except their first; and how many bytes are
        known, up to white space or a number that is not ASCII.
    """
    num_known = min_signed(num_rest, BLOCK)
    letters = where_letter(address)
    leads = where_between(address, 0xC0, 0xFF)
    if leads == 0:
        return letters, 0, num_known
    num_known = min_signed(num_known, whole_characters(address, leads))
    leads &= lowest(num_known)
    two, three = letter_leads(address, num_rest)
    two &= leads
    three &= leads
    inner = ((two | three) << 1) | (three << 2)
    letters |= two | three | inner
    leads &= ~(two | three)
    while leads != 0:
        place = trailing_zeros(leads)
        leads &= leads - 1
        kind, num_bytes = class_and_width(address + place, address + num_rest, classes)
        if kind & (WHITE | NUMBER):
            return letters, inner, place
        covered = ((1 << num_bytes) - 1) << place
        inner |= covered & ~(1 << place)
        if kind & LETTER:
            letters |= covered
    return letters, inner, num_known
