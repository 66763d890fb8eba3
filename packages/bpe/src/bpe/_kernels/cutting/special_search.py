"""Find the next special token.

Stage: text -> *text between special tokens* -> pretokens. Two masks per pair of first bytes select
the candidates in 64 bytes; each candidate is compared in full, the longest special token first. Not
here: what is done with the text in between (`cutter`).
"""

from collections.abc import Sequence
from itertools import accumulate, groupby

import numpy as np

from bpe._kernels.compiling import helper, inlined
from bpe._kernels.machine import load8, load64, trailing_zeros
from bpe._kernels.memory import address_of
from bpe._kernels.vectors import BLOCK, where_equal

_GROUP_WORDS, _SPECIAL_WORDS = 4, 2
_WORD_BYTES = 8


class SpecialTable:
    """A table of special tokens, all different, of two bytes or more; owns the memory at `address`.

    The table is int64 words: the number of groups; for each group of special tokens that share
    their first two bytes, those bytes, and where the records of the group start and end (in bytes
    from the table's start); for each special token the address of its bytes and its length, the
    longest of a group first.
    """

    def __init__(self, special_tokens: Sequence[bytes]) -> None:
        too_short = [special for special in special_tokens if len(special) < 2]
        if too_short:
            raise ValueError(f"special token {too_short[0]!r} is shorter than two bytes")
        self._content = np.frombuffer(b"".join(special_tokens), np.uint8)
        ends = accumulate(map(len, special_tokens))
        starts = {token: end - len(token) for token, end in zip(special_tokens, ends, strict=True)}
        ordered = sorted(special_tokens, key=lambda special: (special[:2], -len(special)))
        groups = [list(members) for _, members in groupby(ordered, key=lambda s: s[:2])]
        records = 1 + _GROUP_WORDS * len(groups)
        words, specials = [len(groups)], []
        for members in groups:
            first = records + len(specials)
            specials += [
                word
                for special in members
                for word in (address_of(self._content) + starts[special], len(special))
            ]
            end = records + len(specials)
            words += [*members[0][:2], first * _WORD_BYTES, end * _WORD_BYTES]
        self._words = np.array(words + specials, np.int64)
        self.address = address_of(self._words)


@helper
def find_special(base, position, stop, end, readable, table):
    """Find the first special token of base[position:end] that begins before `stop`.

    Args:
        base: address that the positions are relative to.
        position: where to begin.
        stop: where to give up, at most `end`.
        end: where the text ends.
        readable: bytes after `base` that may be read, at least `end`.
        table: address of a `SpecialTable`.

    Returns:
        Its place and its length; `stop` and 0 if there is none.
    """
    while position + BLOCK < readable and position < stop:
        candidates = _candidates(base + position, table)
        while candidates != 0:
            place = position + trailing_zeros(candidates)
            if place >= stop:
                return stop, 0
            length = _special_at(base + place, base + end, table)
            if length:
                return place, length
            candidates &= candidates - 1
        position += BLOCK
    while position < stop:  # the last bytes of a buffer
        length = _special_at(base + position, base + end, table)
        if length:
            return position, length
        position += 1
    return stop, 0


@inlined
def _candidates(address, table):
    candidates = 0
    group = table + _WORD_BYTES
    end = group + load64(table) * (_GROUP_WORDS * _WORD_BYTES)
    while group < end:
        first, second = load64(group), load64(group + 8)
        candidates |= where_equal(address, first) & where_equal(address + 1, second)
        group += _GROUP_WORDS * _WORD_BYTES
    return candidates


@helper
def _special_at(address, end, table):
    """Return the length of the longest special token that begins here, 0 if none does."""
    rest = end - address
    if rest < 2:
        return 0
    first, second = load8(address), load8(address + 1)
    group = table + _WORD_BYTES
    groups_end = group + load64(table) * (_GROUP_WORDS * _WORD_BYTES)
    while group < groups_end:
        if load64(group) == first and load64(group + 8) == second:
            special, specials_end = table + load64(group + 16), table + load64(group + 24)
            while special < specials_end:
                length = load64(special + 8)
                if length <= rest and _is_same(address, load64(special), length):
                    return length
                special += _SPECIAL_WORDS * _WORD_BYTES
            return 0
        group += _GROUP_WORDS * _WORD_BYTES
    return 0


@inlined
def _is_same(left, right, length):
    """Whether two stretches of memory hold the same bytes, starting with the third."""
    place = 2
    while place < length:
        if load8(left + place) != load8(right + place):
            return False
        place += 1
    return True
