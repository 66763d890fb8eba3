"""Find where a buffer is not UTF-8.

Stage: bytes -> *text*. Sixty-four bytes are checked at once: the lead bytes determine where
continuations must be, and nowhere else. A block with an error is checked character by character to
find the place that Python would report. Not here: how the error is handled.
"""

from bpe._kernels.compiling import inlined, kernel
from bpe._kernels.cutting.block_masks import first_place, whole_characters
from bpe._kernels.machine import load8, min_signed
from bpe._kernels.vectors import BLOCK, where_between, where_equal


@kernel
def first_malformed(base, num_bytes, readable):
    """Find the first byte at which UTF-8 decoding fails, as `UnicodeDecodeError.start` gives it.

    Args:
        base: address of the buffer.
        num_bytes: its length.
        readable: bytes from `base` on that may be read, at least `num_bytes`.

    Returns:
        Its offset from `base`; -1 if there is none.
    """
    place, end = base, base + num_bytes
    while place + BLOCK <= end:
        high = where_between(place, 0x80, 0xFF)
        if high == 0:
            place += BLOCK
            continue
        width = whole_characters(place, where_between(place, 0xC0, 0xFF))
        if _misplaced(place, high, width):
            break
        place += width
    if place + BLOCK <= base + readable and place < end:
        high = where_between(place, 0x80, 0xFF)
        if place + first_place(high) >= end:
            return -1
    while place < end:
        num_character_bytes = _character_bytes(place, end)
        if num_character_bytes == 0:
            return place - base
        place += num_character_bytes
    return -1


@inlined
def _misplaced(place, high, width):
    """Mask what is wrong with the first `width` bytes, including that they end within a character.

    Args:
        place: address of 64 bytes.
        high: which of them are not ASCII.
        width: 61 to 64.
    """
    continuations = where_between(place, 0x80, 0xBF)
    leads = where_between(place, 0xC2, 0xF4)
    long_leads = where_between(place, 0xE0, 0xF4)
    longest_leads = where_between(place, 0xF0, 0xF4)
    expected = (leads << 1) | (long_leads << 2) | (longest_leads << 3)
    wrong = (expected ^ continuations) | (high & ~(leads | continuations))
    if long_leads:
        # Overlong forms, surrogates, and code points above U+10FFFF.
        wrong |= (where_equal(place, 0xE0) << 1) & where_between(place, 0x80, 0x9F)
        wrong |= (where_equal(place, 0xED) << 1) & where_between(place, 0xA0, 0xBF)
        if longest_leads:
            wrong |= (where_equal(place, 0xF0) << 1) & where_between(place, 0x80, 0x8F)
            wrong |= (where_equal(place, 0xF4) << 1) & where_between(place, 0x90, 0xBF)
    # One more bit: a continuation is missing if the next character begins there.
    return wrong << (63 - min_signed(width, 63))


@inlined
def _character_bytes(place, end):
    """Return the length of the character at `place`, 0 if it is incomplete or malformed."""
    lead = load8(place)
    if lead < 0x80:
        return 1
    rest = end - place
    if lead < 0xC2 or lead > 0xF4 or rest < 2:
        return 0
    second = load8(place + 1)
    if lead < 0xE0:
        return 2 if second & 0xC0 == 0x80 else 0
    if not _may_follow(lead, second) or rest < 3 or load8(place + 2) & 0xC0 != 0x80:
        return 0
    if lead < 0xF0:
        return 3
    return 4 if rest > 3 and load8(place + 3) & 0xC0 == 0x80 else 0


@inlined
def _may_follow(lead, second):
    """Whether a second byte is valid after a lead of three or four bytes."""
    lowest, highest = 0x80, 0xBF
    if lead == 0xE0:
        lowest = 0xA0
    elif lead == 0xED:
        highest = 0x9F
    elif lead == 0xF0:
        lowest = 0x90
    elif lead == 0xF4:
        highest = 0x8F
    return lowest <= second <= highest
