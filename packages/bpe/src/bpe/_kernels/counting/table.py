"""Count pretokens in hash tables.

Stage: pretokens -> *pretoken counts*. Pretokens of up to 15 bytes are two words, their own keys;
longer ones are found by a hash and compared byte by byte. The keys of a group are made before any
is looked up, so the memory of all of them is fetched at once. Not here: who owns the tables
(`counter`).
"""

from typing import NamedTuple

from bpe._kernels.compiling import helper, inlined, kernel
from bpe._kernels.keys import SHORT_BYTES, are_equal, hash_bytes, short_home, short_key
from bpe._kernels.machine import (
    keep_scalar,
    load8,
    load32,
    load64,
    min_signed,
    multiply,
    prefetch,
    shift_right,
    store8,
    store64,
    store128,
)

GROUP = 256
"""Pretokens looked up together."""
READ_AHEAD = 16
"""Bytes after a pretoken that may be read."""
ENTRY_BYTES = 32
KEY_BYTES = 24
LONG_KEY = -1
"""Marks a long pretoken, in place of the second word of a key."""


class Table(NamedTuple):
    """Addresses and sizes."""

    # Two entries per home of 64 bytes: {int64 bytes 0 to 7, int64 bytes 8 to 14 and the length in
    # the highest byte, int64 count, 0}; a free entry has the length 0.
    short: int
    short_mask: int  # of homes, in bytes
    max_short: int  # entries
    long: int  # {int64 hash, int64 offset, int64 length, int64 count}; length 0: a free entry
    long_mask: int  # in bytes
    max_long: int
    content: int  # bytes of long pretokens, at their offset
    max_content: int
    group: int  # {int64, int64 key, int64 address of its home} per pretoken of a group
    masks: int  # of `key_masks`


class Use(NamedTuple):
    """Offsets in the vector of int64 that kernels change, in bytes."""

    num_short: int
    num_short_bytes: int
    num_long: int
    num_long_bytes: int  # of the content
    num_wanted_bytes: int  # of the content, for the next group


FIELDS = Use(*range(0, 8 * len(Use._fields), 8))
NUM_SHORT, NUM_SHORT_BYTES, NUM_LONG, NUM_LONG_BYTES, NUM_WANTED_BYTES = FIELDS


@kernel
def count_tokens(table, use, origin, ends, begin, num_tokens):
    """Count the pretokens of a batch.

    Args:
        table: mutated.
        use: address of `Use`, mutated.
        origin: address of the first pretoken; READ_AHEAD bytes after the last are readable.
        ends: address of int32, relative to `origin`.
        begin: first pretoken to count.
        num_tokens: in the batch.

    Returns:
        The first pretoken that is not counted yet; if that is not `num_tokens`, the caller makes
        room and calls again.
    """
    while begin < num_tokens:
        end = min_signed(begin + GROUP, num_tokens)
        start = origin
        if begin > 0:
            start += load32(ends + 4 * (begin - 1))
        stop = origin + load32(ends + 4 * (end - 1))
        if not _has_room(table, use, end - begin, stop - start):
            return begin
        _make_keys(table, origin, ends, begin, end, start)
        place = start
        for index in range(begin, end):
            behind = origin + load32(ends + 4 * index)
            key = table.group + KEY_BYTES * (index - begin)
            low, high, home = load64(key), load64(key + 8), load64(key + 16)
            if ((load64(home) ^ low) | (load64(home + 8) ^ high)) == 0:
                store64(home + 16, load64(home + 16) + 1)
            elif ((load64(home + 32) ^ low) | (load64(home + 40) ^ high)) == 0:
                store64(home + 48, load64(home + 48) + 1)
            elif high != LONG_KEY:
                _add_short(table, use, low, high, home, 1)
            else:
                _add_long(table, use, place, behind - place, 1)
            place = behind
        begin = end
    return begin


@kernel
def add_pretokens(table, use, content, lengths, counts, begin, num_pretokens):
    """Add counts to a table.

    Args:
        table: mutated.
        use: address of `Use`, mutated.
        content: address of the pretokens from `begin` on, followed by READ_AHEAD readable bytes.
        lengths: address of int64 per pretoken.
        counts: address of int64 per pretoken.
        begin: first pretoken to add.
        num_pretokens: the total.

    Returns:
        The first pretoken that is not added yet, as `count_tokens` does.
    """
    for pretoken in range(begin, num_pretokens):
        length = load64(lengths + 8 * pretoken)
        if not _has_room(table, use, 1, length):
            return pretoken
        count = load64(counts + 8 * pretoken)
        if length > SHORT_BYTES:
            _add_long(table, use, content, length, count)
        else:
            low, high = short_key(table.masks, content, length)
            home = short_home(low, high, table.short, table.short_mask)
            _add_short(table, use, low, high, home, count)
        content += length
    return num_pretokens


@kernel
def move_entries(table, short, short_end, long, long_end):
    """Move the entries of smaller tables into empty ones; content stays at its offsets.

    Args:
        table: mutated.
        short: address of the entries of short pretokens.
        short_end: address after the last one.
        long: address of the entries of long pretokens.
        long_end: address after the last one.
    """
    while short < short_end:
        low, high = load64(short), load64(short + 8)
        if high != 0:
            entry = short_home(low, high, table.short, table.short_mask)
            while load64(entry + 8) != 0:
                entry = _behind_short(table, entry)
            store128(entry, low, high)
            store64(entry + 16, load64(short + 16))
        short += ENTRY_BYTES
    while long < long_end:
        if load64(long + 16) != 0:
            entry = _long_home(table, load64(long))
            while load64(entry + 16) != 0:
                entry = _behind_long(table, entry)
            store128(entry, load64(long), load64(long + 8))
            store128(entry + 16, load64(long + 16), load64(long + 24))
        long += ENTRY_BYTES


@kernel
def pack(table, content, lengths, counts):
    """Write all pretokens and counts one after another.

    The caller provides the room, and READ_AHEAD bytes more after the pretokens.
    """
    number = 0
    entry, end = table.short, table.short + table.short_mask + 64
    while entry < end:
        length = shift_right(load64(entry + 8), 56)
        if length > 0:
            store128(content, load64(entry), load64(entry + 8))
            number = _describe(length, load64(entry + 16), lengths, counts, number)
            content += length
        entry += ENTRY_BYTES
    entry, end = table.long, table.long + table.long_mask + ENTRY_BYTES
    while entry < end:
        length = load64(entry + 16)
        if length > 0:
            source = table.content + load64(entry + 8)
            for offset in range(length):
                keep_scalar()
                store8(content + offset, load8(source + offset))
            number = _describe(length, load64(entry + 24), lengths, counts, number)
            content += length
        entry += ENTRY_BYTES


@inlined
def _describe(length, count, lengths, counts, number):
    store64(lengths + 8 * number, length)
    store64(counts + 8 * number, count)
    return number + 1


@inlined
def _has_room(table, use, num_tokens, num_bytes):
    store64(use + NUM_WANTED_BYTES, num_bytes)
    return (
        load64(use + NUM_SHORT) + num_tokens <= table.max_short
        and load64(use + NUM_LONG) + num_tokens <= table.max_long
        and load64(use + NUM_LONG_BYTES) + num_bytes <= table.max_content
    )


@inlined
def _make_keys(table, origin, ends, begin, end, place):
    """Write the keys of a group, and prefetch their homes."""
    key = table.group
    for index in range(begin, end):
        behind = origin + load32(ends + 4 * index)
        low, high = short_key(table.masks, place, behind - place)
        home = short_home(low, high, table.short, table.short_mask)
        prefetch(home)
        store128(key, low, high)
        store64(key + 16, home)
        key += KEY_BYTES
        place = behind


@inlined
def _behind_short(table, entry):
    return table.short + (entry - table.short + ENTRY_BYTES & table.short_mask + 63)


@inlined
def _long_home(table, spread):
    return table.long + (multiply(spread, ENTRY_BYTES) & table.long_mask)


@inlined
def _behind_long(table, entry):
    return table.long + (entry - table.long + ENTRY_BYTES & table.long_mask)


@helper
def _add_short(table, use, low, high, home, count):
    """Add to the count of a short pretoken, which may be new."""
    entry = home
    while True:
        found = load64(entry + 8)
        if found == 0:
            store128(entry, low, high)
            store64(use + NUM_SHORT, load64(use + NUM_SHORT) + 1)
            num_bytes = load64(use + NUM_SHORT_BYTES) + shift_right(high, 56)
            store64(use + NUM_SHORT_BYTES, num_bytes)
            break
        if found == high and load64(entry) == low:
            break
        entry = _behind_short(table, entry)
    store64(entry + 16, load64(entry + 16) + count)


@helper
def _add_long(table, use, place, length, count):
    """Add to the count of a pretoken of 16 bytes or more, which may be new."""
    spread = hash_bytes(place, length)
    entry = _long_home(table, spread)
    while True:
        found = load64(entry + 16)
        if found == 0:
            offset = load64(use + NUM_LONG_BYTES)
            for index in range(length):
                keep_scalar()
                store8(table.content + offset + index, load8(place + index))
            store64(use + NUM_LONG_BYTES, offset + length)
            store64(use + NUM_LONG, load64(use + NUM_LONG) + 1)
            store128(entry, spread, offset)
            store64(entry + 16, length)
            break
        known = table.content + load64(entry + 8)
        if found == length and load64(entry) == spread and are_equal(known, place, length):
            break
        entry = _behind_long(table, entry)
    store64(entry + 24, load64(entry + 24) + count)
