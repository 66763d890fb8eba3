"""Remember the ids of pretokens.

Stage: pretokens -> *ids*. Two open-addressing tables, as most pretokens are short and recur. Not
here: merging new pretokens (`merging`).

A short entry has 32 bytes: the pretoken's bytes and length (16: up to 15 bytes, then the length in
the top byte), then its ids and their number (16). Entries come in aligned pairs, one cache line,
and a pretoken's home is a pair. A long entry has 64: hash, length under a mark, ids and number as
above, the first 16 bytes, and the last 16 or, beyond 32 bytes, where all of them are in BYTES.

Ids and number: 7 uint16 or 3 uint32, and the number in the top 16 bits; number 0 means that there
are more, with their place in IDS and their number in the two words. A length is never 0, so
neither is the second word of an entry in use.
"""

from bpe.kernel_parts import (
    are_equal,
    copy16,
    hash_bytes,
    helper,
    inlined,
    keep_scalar,
    kernel,
    load8,
    load32,
    load64,
    multiply,
    narrow16,
    shift_right,
    short_home,
    store8,
    store32,
    store128,
)
from tokenizer._kernels.tables.layout import (
    BYTES,
    BYTES_SIZE,
    BYTES_USED,
    IDS,
    IDS_SIZE,
    IDS_USED,
    IS_WIDE,
    LONG,
    LONG_MASK,
    LONG_USED,
    SCRATCH,
    SHORT,
    SHORT_MASK,
    SHORT_USED,
    get,
    put,
)
from tokenizer._kernels.tables.merging import MAX_SHORT, merge_short

SHORT_ENTRY, LONG_ENTRY = 32, 64  # bytes
MAX_REMEMBERED = 4096  # bytes; longer pretokens rarely recur
LONG_MARK = -128 << 56
OVERRUN = 15
"""Ids that may be written after the last one."""
_ALL_INLINE = 32  # bytes of a pretoken that fits into a long entry


@inlined
def write_ids(state, source, count, out):
    """Copy uint32 ids to the output; return where the output continues."""
    is_wide = get(state, IS_WIDE)
    done = 0
    while done < count:
        if is_wide:
            copy16(out + 4 * done, source + 4 * done)
        else:
            narrow16(out + 2 * done, source + 4 * done)
        done += 16
    return out + (count << (1 + is_wide))


@inlined
def write_entry_ids(state, first, second, out):
    """Write the ids of an entry; return where the output continues."""
    count = shift_right(second, 48)
    if count != 0:
        store128(out, first, second)
        return out + (count << (1 + get(state, IS_WIDE)))
    return write_ids(state, get(state, IDS) + 4 * first, second, out)


@helper
def pack_ids(state, count):
    """Return the ids in SCRATCH as the two words of an entry; the second is 0 if IDS is full."""
    source = get(state, SCRATCH)
    if get(state, IS_WIDE) == 0 and count <= 7:
        first, second = 0, count << 48
        for place in range(count):
            keep_scalar()
            token = load32(source + 4 * place)
            if place < 4:
                first |= token << (16 * place)
            else:
                second |= token << (16 * (place - 4))
        return first, second
    if get(state, IS_WIDE) != 0 and count <= 3:
        first, second = load32(source), count << 48
        if count > 1:
            first |= load32(source + 4) << 32
        if count > 2:
            second |= load32(source + 8)
        return first, second
    used = get(state, IDS_USED)
    if used + count + OVERRUN > get(state, IDS_SIZE):
        return 0, 0
    target = get(state, IDS) + 4 * used
    for place in range(count):
        store32(target + 4 * place, load32(source + 4 * place))
    put(state, IDS_USED, used + count)
    return used, count


@helper
def find_short(state, low, high, entry):
    """Return the entry of a short key, or the empty one where it belongs; `entry` is its home."""
    table, mask = get(state, SHORT), get(state, SHORT_MASK)
    while True:
        if load64(entry + 8) == 0 or (load64(entry + 8) == high and load64(entry) == low):
            return entry
        entry += SHORT_ENTRY
        if load64(entry + 8) == 0 or (load64(entry + 8) == high and load64(entry) == low):
            return entry
        entry = table + ((entry + SHORT_ENTRY - table) & mask)


@helper
def insert_short(state, entry, low, high, count):
    """Store the ids in SCRATCH in an empty entry."""
    first, second = pack_ids(state, count)
    if second == 0:
        return
    store128(entry, low, high)
    store128(entry + 16, first, second)
    put(state, SHORT_USED, get(state, SHORT_USED) + 1)


@helper
def encode_short(state, address, length, low, high, entry, out):
    """Encode a pretoken of up to 15 bytes that is in neither entry of its home."""
    entry = find_short(state, low, high, entry)
    if load64(entry + 8) != 0:
        return write_entry_ids(state, load64(entry + 16), load64(entry + 24), out)
    count = merge_short(state, address, length)
    insert_short(state, entry, low, high, count)
    return write_ids(state, get(state, SCRATCH), count, out)


@inlined
def long_home(state, spread):
    """Return the address of the entry where a hash belongs."""
    return get(state, LONG) + (multiply(spread, LONG_ENTRY) & get(state, LONG_MASK))


@inlined
def holds_long(state, entry, spread, address, length):
    """Whether a long entry is that of the `length` bytes at `address`."""
    if load64(entry) != spread or load64(entry + 8) != LONG_MARK | length:
        return False
    if load64(entry + 32) != load64(address) or load64(entry + 40) != load64(address + 8):
        return False
    if length <= _ALL_INLINE:
        end = address + length
        return load64(entry + 48) == load64(end - 16) and load64(entry + 56) == load64(end - 8)
    return are_equal(get(state, BYTES) + load64(entry + 48), address, length)


@helper
def find_long(state, spread, address, length):
    """Return the entry of a long pretoken, or the empty one where it belongs."""
    table, mask = get(state, LONG), get(state, LONG_MASK)
    entry = long_home(state, spread)
    while load64(entry + 8) != 0 and not holds_long(state, entry, spread, address, length):
        entry = table + ((entry + LONG_ENTRY - table) & mask)
    return entry


@helper
def insert_long(state, entry, spread, address, length, count):
    """Store the ids in SCRATCH in an empty entry, unless the memory for them is full."""
    used = get(state, BYTES_USED)
    is_apart = length > _ALL_INLINE
    if is_apart and used + length > get(state, BYTES_SIZE):
        put(state, BYTES_USED, get(state, BYTES_SIZE))  # so the next check for room fails
        return
    first, second = pack_ids(state, count)
    if second == 0:
        return
    store128(entry, spread, LONG_MARK | length)
    store128(entry + 16, first, second)
    store128(entry + 32, load64(address), load64(address + 8))
    if is_apart:
        target = get(state, BYTES) + used
        for place in range(length):
            store8(target + place, load8(address + place))
        put(state, BYTES_USED, used + length)
        store128(entry + 48, used, 0)
    else:
        end = address + length
        store128(entry + 48, load64(end - 16), load64(end - 8))
    put(state, LONG_USED, get(state, LONG_USED) + 1)


@helper
def encode_long(state, address, length, out):
    """Encode a pretoken of 16 or more bytes; return 0 if it is new and too long to merge."""
    spread = hash_bytes(address, length)
    entry = find_long(state, spread, address, length)
    if load64(entry + 8) != 0:
        return write_entry_ids(state, load64(entry + 16), load64(entry + 24), out)
    if length > MAX_SHORT:
        return 0
    count = merge_short(state, address, length)
    insert_long(state, entry, spread, address, length, count)
    return write_ids(state, get(state, SCRATCH), count, out)


@helper
def remember_long(state, address, length, count, out):
    """Store the ids in SCRATCH of a new pretoken, and write them."""
    if length <= MAX_REMEMBERED:
        spread = hash_bytes(address, length)
        entry = find_long(state, spread, address, length)
        insert_long(state, entry, spread, address, length, count)
    return write_ids(state, get(state, SCRATCH), count, out)


@kernel
def move_short(state, source, num_entries):
    """Move the entries of an older short table into the current, larger one."""
    table, mask = get(state, SHORT), get(state, SHORT_MASK)
    for number in range(num_entries):
        entry = source + SHORT_ENTRY * number
        low, high = load64(entry), load64(entry + 8)
        if high == 0:
            continue
        target = find_short(state, low, high, short_home(low, high, table, mask))
        store128(target, low, high)
        store128(target + 16, load64(entry + 16), load64(entry + 24))


@kernel
def move_long(state, source, num_entries):
    """Move the entries of an older long table into the current, larger one."""
    table, mask = get(state, LONG), get(state, LONG_MASK)
    for number in range(num_entries):
        entry = source + LONG_ENTRY * number
        if load64(entry + 8) == 0:
            continue
        target = long_home(state, load64(entry))
        while load64(target + 8) != 0:
            target = table + ((target + LONG_ENTRY - table) & mask)
        for place in range(0, LONG_ENTRY, 16):
            store128(target + place, load64(entry + place), load64(entry + place + 8))
