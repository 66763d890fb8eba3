"""Encode a batch of pretokens.

Stage: pretokens -> *ids*. In groups of 256: first all keys, prefetching the home of each in the
table; then the long pretokens; then all ids. By the time a key is compared, its entry has arrived.
If a table is full, or a new pretoken is long, the kernel returns a status; the caller (`worker`)
handles it and calls again. Not here: where pretokens end.
"""

from bpe.kernel_parts import (
    SHORT_BYTES,
    choose,
    hash_bytes,
    helper,
    inlined,
    keep_scalar,
    kernel,
    load8,
    load32,
    load64,
    min_signed,
    min_unsigned,
    prefetch,
    shift_right,
    short_home,
    short_key,
    store32,
    store64,
    store128,
)
from tokenizer._kernels.tables.layout import (
    BYTES_SIZE,
    BYTES_USED,
    GROUP_KEYS,
    GROUP_LONGS,
    IDS_SIZE,
    IDS_USED,
    IS_WIDE,
    KEY_MASKS,
    LONG_LIMIT,
    LONG_USED,
    NOWHERE,
    SCRATCH,
    SHORT,
    SHORT_LIMIT,
    SHORT_MASK,
    SHORT_USED,
    get,
)
from tokenizer._kernels.tables.memo import (
    LONG_MARK,
    MAX_REMEMBERED,
    encode_long,
    encode_short,
    find_long,
    find_short,
    insert_long,
    insert_short,
    long_home,
    write_entry_ids,
)

GROUP = 256
"""Pretokens whose keys are made together."""
KEY_BYTES = 24  # of a key in GROUP_KEYS: two words, and the address of its home
DONE, SHORT_FULL, LONG_FULL, MEMORY_FULL, IS_NEW = range(5)
"""Status; IS_NEW: the next pretoken is one for `long_pretokens`."""


@kernel
def encode_batch(state, origin, ends, count, first, readable_end, out):
    """Encode the pretokens `first` to `count` of a batch.

    Args:
        state: address of the fields of `layout`.
        origin: address of the text of the batch.
        ends: address of int32; where each pretoken ends, relative to `origin`.
        count: pretokens in the batch.
        first: the one to begin with.
        readable_end: address after the last byte that may be read.
        out: address of the output; room for one id per byte and 16 more.

    Returns:
        The next pretoken, where its output goes, and a status.
    """
    return encode_pretokens(state, origin, ends, count, first, readable_end, out)


@helper
def encode_pretokens(state, origin, ends, count, first, readable_end, out):
    """Implement `encode_batch`."""
    status = DONE
    while first < count and status == DONE:
        if get(state, SHORT_USED) + GROUP > get(state, SHORT_LIMIT):
            return first, out, SHORT_FULL
        if get(state, LONG_USED) + GROUP > get(state, LONG_LIMIT):
            return first, out, LONG_FULL
        room = min_signed(
            get(state, BYTES_SIZE) - get(state, BYTES_USED),
            4 * (get(state, IDS_SIZE) - get(state, IDS_USED)),
        )
        if room < 2 * MAX_REMEMBERED:
            return first, out, MEMORY_FULL
        end = min_signed(first + GROUP, count)
        num_long = make_keys(state, origin, ends, first, end, readable_end)
        if num_long > 0:
            resolve_long(state, origin, ends, first, num_long)
        first, out, status = write_group(state, origin, ends, first, end, out)
    return first, out, status


@inlined
def start_of(ends, number):
    """Return where a pretoken begins: where the one before it ends."""
    return load32(ends + 4 * number - 4) if number > 0 else 0


@inlined
def spelled_key(address, length):
    """Return the words of a short key, byte by byte, if no more bytes may be read."""
    low = high = 0
    for place in range(length):
        keep_scalar()
        if place < 8:
            low |= load8(address + place) << (8 * place)
        else:
            high |= load8(address + place) << (8 * place - 64)
    return low, high | (length << 56)


@helper
def make_keys(state, origin, ends, first, end, readable_end):
    """Write the keys and homes of a group; list the long ones, and return how many there are.

    The key of a long pretoken equals no entry: its second word is -1.
    """
    keys, longs, masks = get(state, GROUP_KEYS), get(state, GROUP_LONGS), get(state, KEY_MASKS)
    table, mask = get(state, SHORT), get(state, SHORT_MASK)
    address = origin + start_of(ends, first)
    is_roomy = origin + load32(ends + 4 * end - 4) + 16 <= readable_end
    num_long = 0
    for number in range(end - first):
        following = origin + load32(ends + 4 * (first + number))
        length = following - address
        if is_roomy:
            low, high = short_key(masks, address, length)
        elif length <= SHORT_BYTES:
            low, high = spelled_key(address, length)
        else:
            low, high = 0, -1
        home = short_home(low, high, table, mask)
        prefetch(home)
        store128(keys, low, high)
        store64(keys + 16, home)
        store32(longs + 4 * num_long, number)
        num_long += shift_right(SHORT_BYTES - length, 63)
        keys += KEY_BYTES
        address = following
    return num_long


@helper
def resolve_long(state, origin, ends, first, num_long):
    """Make the keys of known long pretokens equal to their entries.

    Entries of both tables begin alike, so `write_group` treats a long one as a short one. Unknown
    pretokens get an entry that equals nothing.
    """
    keys, longs = get(state, GROUP_KEYS), get(state, GROUP_LONGS)
    for listed in range(num_long):
        number = load32(longs + 4 * listed)
        start = start_of(ends, first + number)
        spread = hash_bytes(origin + start, load32(ends + 4 * (first + number)) - start)
        prefetch(long_home(state, spread))
        store64(keys + KEY_BYTES * number, spread)
    for listed in range(num_long):
        number = load32(longs + 4 * listed)
        key = keys + KEY_BYTES * number
        start = start_of(ends, first + number)
        length = load32(ends + 4 * (first + number)) - start
        entry = find_long(state, load64(key), origin + start, length)
        if load64(entry + 8) != 0:
            store64(key + 8, LONG_MARK | length)
            store64(key + 16, entry)
        else:
            store64(key + 16, get(state, NOWHERE))


@helper
def write_group(state, origin, ends, first, end, out):
    """Write the ids of a group; returns what `encode_batch` does."""
    keys = get(state, GROUP_KEYS)
    id_shift = 1 + get(state, IS_WIDE)
    for number in range(first, end):
        low, high, home = load64(keys), load64(keys + 8), load64(keys + 16)
        differs = (load64(home) ^ low) | (load64(home + 8) ^ high)
        differs_too = (load64(home + 32) ^ low) | (load64(home + 40) ^ high)
        words = choose(differs, load64(home + 48), load64(home + 16))
        more_words = choose(differs, load64(home + 56), load64(home + 24))
        count = shift_right(more_words, 48)
        if min_unsigned(differs, differs_too) == 0:
            if count != 0:
                store128(out, words, more_words)
                out += count << id_shift
            else:
                out = write_entry_ids(state, words, more_words, out)
        else:
            start = start_of(ends, number)
            length = load32(ends + 4 * number) - start
            if length <= SHORT_BYTES:
                out = encode_short(state, origin + start, length, low, high, home, out)
            else:
                behind = encode_long(state, origin + start, length, out)
                if behind == 0:
                    return number, out, IS_NEW
                out = behind
        keys += KEY_BYTES
    return end, out, DONE


@kernel
def remember_special(state, address, length, token_id):
    """Enter a special token and its id into the tables; cutting keeps it in one piece."""
    store32(get(state, SCRATCH), token_id)
    if length <= SHORT_BYTES:
        low, high = spelled_key(address, length)
        home = short_home(low, high, get(state, SHORT), get(state, SHORT_MASK))
        entry = find_short(state, low, high, home)
        if load64(entry + 8) == 0:
            insert_short(state, entry, low, high, 1)
    else:
        spread = hash_bytes(address, length)
        entry = find_long(state, spread, address, length)
        if load64(entry + 8) == 0:
            insert_long(state, entry, spread, address, length, 1)
