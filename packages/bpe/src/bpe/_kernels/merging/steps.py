"""Replace two symbols by one, everywhere they are neighbours.

Stage: pretoken counts -> *merges*. The design rests on four facts.

- All occurrences of a pair are created in one step, the one that makes the younger of its symbols.
  After that its count only falls, and its occurrences are one stretch of an array that is written
  once; occurrences that later steps destroy are skipped when they are reached.
- Occurrences ascend, so the leftmost goes first: `aaa` becomes `aa a`.
- A step changes counts once per distinct neighbour, not once per occurrence.
- A pair whose first count is below the threshold can never reach it. It is not registered; only if
  no other pair is left is the threshold lowered and are all pairs found again. So any threshold
  gives the same merges.

No two merges make the same bytes, so a symbol stands for its bytes: where borders of symbols
enclose the same bytes, the steps so far have divided these in the same way. Not here: which pair
is next (`pairs`).
"""

from bpe._kernels.compiling import helper, inlined, kernel
from bpe._kernels.machine import (
    keep_scalar,
    load8,
    load32,
    load64,
    min_signed,
    prefetch,
    store8,
    store32,
    store64,
)
from bpe._kernels.merging.pairs import (
    drop_top,
    find_slot,
    lower_count,
    prefetch_slot,
    register,
    sink,
)
from bpe._kernels.merging.state import (
    BORDER,
    HEAP_SIZE,
    HEAVY,
    NO_SYMBOL,
    NUM_PAIRS,
    NUM_SYMBOLS,
    PAIR_BYTES,
    PLACE_BYTES,
    TALLY_BYTES,
    THRESHOLD,
    add_to_tally,
    length_of,
    symbol_at,
    weight_at,
    write_symbol,
)

DONE, NO_PAIRS_LEFT, TABLE_IS_FULL = range(3)
_NEVER = (1 << 63) - 1  # a threshold that no count reaches
_AHEAD = 16  # how many occurrences ahead are prefetched


@kernel
def lay_out(content, lengths, counts, num_pretokens, place, text):
    """Write the pretokens of two bytes or more to the places, and return the number of places.

    Args:
        content: address of the bytes of all pretokens, one after another.
        lengths: address of int64 per pretoken.
        counts: address of int64 per pretoken.
        num_pretokens: how many.
        place: address of the places, written.
        text: address of uint8 per place, written at the places that hold bytes.
    """
    store32(place, BORDER)
    num_places = 1
    for pretoken in range(num_pretokens):
        length = load64(lengths + 8 * pretoken)
        if length > 1:
            weight = load64(counts + 8 * pretoken)
            if weight >= HEAVY:
                weight = HEAVY + pretoken
            for offset in range(length):
                keep_scalar()
                byte = load8(content + offset)
                store32(place + PLACE_BYTES * (num_places + offset), byte)
                store32(place + PLACE_BYTES * (num_places + offset) + 4, weight)
                store8(text + num_places + offset, byte)
            num_places += length
            store32(place + PLACE_BYTES * num_places, BORDER)
            num_places += 1
        content += length
    return num_places


@kernel
def find_pairs(places, symbols, pairs, left, right, progress):
    """Register all pairs from scratch, with their occurrences; all tables are empty.

    Places are sorted by the symbol that begins there, then taken symbol by symbol.

    Returns:
        Whether the table of pairs was large enough; if not, the caller empties all tables.
    """
    num_symbols, threshold = load64(progress + NUM_SYMBOLS), load64(progress + THRESHOLD)
    _sort_places(places, symbols, left, num_symbols)
    begin = 0
    is_large_enough = True
    for symbol in range(num_symbols):
        tally = left.tally + TALLY_BYTES * symbol
        end = load64(tally + 8)
        store64(tally + 8, 0)
        if is_large_enough and begin < end:
            touched = 0
            for record in range(begin, end):
                ahead = places.records + 8 * min_signed(record + _AHEAD, end - 1)
                prefetch(places.place + PLACE_BYTES * load32(ahead))
                behind = load32(places.records + 8 * record + 4)
                weight = weight_at(places, load32(places.records + 8 * record))
                touched = add_to_tally(right, touched, behind, weight)
            is_large_enough = load64(progress + NUM_PAIRS) + touched <= pairs.capacity
            if not is_large_enough:
                threshold = _NEVER
            for index in range(touched):
                behind = load32(right.touched + 4 * index)
                tally = right.tally + TALLY_BYTES * behind
                _begin_pair(pairs, symbols, progress, symbol, behind, tally, threshold)
            _list_occurrences(places, right, places.records + 8 * begin, end - begin)
            _clear(right, touched)
        begin = end
    return is_large_enough


@inlined
def _sort_places(places, symbols, left, num_symbols):
    """Write {uint32 place, uint32 next symbol} to the records, sorted by symbol, then place.

    The tallies of `left` are zero before; afterwards they hold where the records of a symbol end.
    """
    place = 1
    while place < places.num_places:
        symbol = symbol_at(places, place)
        if symbol == BORDER:
            place += 1
            continue
        place += length_of(symbols, symbol)
        if symbol_at(places, place) != BORDER:
            tally = left.tally + TALLY_BYTES * symbol
            store64(tally + 8, load64(tally + 8) + 1)
    begin = 0
    for symbol in range(num_symbols):
        tally = left.tally + TALLY_BYTES * symbol
        begin += load64(tally + 8)
        store64(tally + 8, begin - load64(tally + 8))
    place = 1
    while place < places.num_places:
        symbol = symbol_at(places, place)
        if symbol == BORDER:
            place += 1
            continue
        first = place
        place += length_of(symbols, symbol)
        behind = symbol_at(places, place)
        if behind != BORDER:
            tally = left.tally + TALLY_BYTES * symbol
            record = places.records + 8 * load64(tally + 8)
            store64(tally + 8, load64(tally + 8) + 1)
            store32(record, first)
            store32(record + 4, behind)


@kernel
def merge(end_symbol, places, symbols, pairs, left, right, progress):
    """Merge pairs until there are `end_symbol` symbols.

    Returns:
        DONE; NO_PAIRS_LEFT, if none has a count that reaches the threshold; or TABLE_IS_FULL: the
        caller enlarges the table and calls again.
    """
    threshold = load64(progress + THRESHOLD)
    while load64(progress + NUM_SYMBOLS) < end_symbol:
        if load64(progress + HEAP_SIZE) == 0:
            return NO_PAIRS_LEFT
        number = load64(pairs.heap + 8)
        pair = pairs.pair + PAIR_BYTES * number
        count = load64(pair)
        if count < threshold:
            drop_top(pairs, symbols, progress)
            continue
        if count != load64(pairs.heap):
            sink(pairs, symbols, load64(progress + HEAP_SIZE), count, number)
            continue
        most = min_signed(load64(pair + 16), load64(progress + NUM_SYMBOLS) + 1)
        most = min_signed(most, count // threshold)  # of new pairs, on either side
        if load64(progress + NUM_PAIRS) + 2 * most > pairs.capacity:
            return TABLE_IS_FULL
        drop_top(pairs, symbols, progress)
        _merge_pair(places, symbols, pairs, left, right, progress, pair)
        store64(pair, 0)
    return DONE


@inlined
def _merge_pair(places, symbols, pairs, left, right, progress, pair):
    """Replace all occurrences of a pair, of which there is at least one, by one symbol."""
    new_symbol = load64(progress + NUM_SYMBOLS)
    store64(progress + NUM_SYMBOLS, new_symbol + 1)
    # Left neighbours are recorded from the start of the records, right ones from the middle: there
    # are at most half as many occurrences as places.
    left_records, right_records = places.records, places.records + 4 * (places.num_places & -2)
    num_left, num_right, touched_left, touched_right = _replace_occurrences(
        places, symbols, left, right, pair, new_symbol, left_records, right_records
    )
    _change_counts(
        symbols, pairs, left, right, progress, pair, new_symbol, touched_left, touched_right
    )
    _list_occurrences(places, left, left_records, num_left)
    _list_occurrences(places, right, right_records, num_right)
    _clear(left, touched_left)
    _clear(right, touched_right)


@inlined
def _replace_occurrences(
    places, symbols, left, right, pair, new_symbol, left_records, right_records
):
    """Write the new symbol to its places, and {uint32 place, uint32 neighbour} to the records.

    The place is that of the left symbol of the new pair. The tallies are increased.

    Returns:
        The numbers of records on the left and right, and of distinct neighbours on each side.
    """
    first_symbol, second_symbol = load32(pair + 24), load32(pair + 28)
    first_length = length_of(symbols, first_symbol)
    length = first_length + length_of(symbols, second_symbol)
    store32(symbols.length + 4 * new_symbol, length)
    store64(symbols.merges + 8 * (new_symbol - 256), first_symbol | second_symbol << 32)
    num_left, num_right, touched_left, touched_right = 0, 0, 0, 0
    last_place = 0
    occurrence = places.occurrences + 4 * load64(pair + 8)
    end = occurrence + 4 * load64(pair + 16)
    while occurrence < end:
        place = load32(occurrence)
        ahead = load32(min_signed(occurrence + 4 * _AHEAD, end - 4))
        prefetch(places.place + PLACE_BYTES * ahead)
        occurrence += 4
        second_place = place + first_length
        if symbol_at(places, place) != first_symbol:
            continue
        if symbol_at(places, second_place) != second_symbol:
            continue
        last_place = place
        weight = weight_at(places, place)
        before = symbol_at(places, place - 1)
        if before != BORDER:
            touched_left = add_to_tally(left, touched_left, before, weight)
            store32(left_records + 8 * num_left, place - length_of(symbols, before))
            store32(left_records + 8 * num_left + 4, before)
            num_left += 1
        behind = symbol_at(places, place + length)
        if behind != BORDER:
            touched_right = add_to_tally(right, touched_right, behind, weight)
            store32(right_records + 8 * num_right, place)
            store32(right_records + 8 * num_right + 4, behind)
            num_right += 1
        write_symbol(places, second_place, NO_SYMBOL)
        write_symbol(places, place, new_symbol)
        write_symbol(places, place + length - 1, new_symbol)
    _describe(symbols, new_symbol, last_place, length)
    return num_left, num_right, touched_left, touched_right


@inlined
def _change_counts(
    symbols, pairs, left, right, progress, pair, new_symbol, touched_left, touched_right
):
    """Lower the counts of pairs that lost occurrences, and register the new pairs."""
    first_symbol, second_symbol = load32(pair + 24), load32(pair + 28)
    threshold = load64(progress + THRESHOLD)
    for index in range(touched_left):
        prefetch_slot(pairs, load32(left.touched + 4 * index), first_symbol)
    for index in range(touched_right):
        prefetch_slot(pairs, second_symbol, load32(right.touched + 4 * index))
    # Where two occurrences touched, the right neighbour of the left one is now the new symbol.
    joined = load64(left.tally + TALLY_BYTES * new_symbol)
    for index in range(touched_left):
        before = load32(left.touched + 4 * index)
        tally = left.tally + TALLY_BYTES * before
        if before != new_symbol:
            lower_count(pairs, before, first_symbol, load64(tally))
        _begin_pair(pairs, symbols, progress, before, new_symbol, tally, threshold)
    for index in range(touched_right):
        behind = load32(right.touched + 4 * index)
        tally = right.tally + TALLY_BYTES * behind
        lower_count(pairs, second_symbol, behind, load64(tally))
        if behind == first_symbol:
            store64(tally, load64(tally) - joined)
        _begin_pair(pairs, symbols, progress, new_symbol, behind, tally, threshold)


@inlined
def _describe(symbols, symbol, place, length):
    """Record where the bytes of a new symbol are found, and its key."""
    store32(symbols.first + 4 * symbol, place)
    if load64(symbols.key + 8 * symbol) == 0:  # otherwise the rule for ties needs no bytes
        key = 0
        for offset in range(8):
            key <<= 8
            if offset < length:
                key |= load8(symbols.text + place + offset)
        # The sign is flipped, as comparisons are signed; all bits are, if smaller comes first.
        store64(symbols.key + 8 * symbol, key ^ (-1 << 63) ^ (symbols.direction >> 1))


@inlined
def _begin_pair(pairs, symbols, progress, left, right, tally, threshold):
    """Register a pair if its tally reaches the threshold.

    Afterwards the tally has no weight, and in place of the number of occurrences it holds where the
    next one is to be written, + 1; 0 for a pair that is not registered.
    """
    place = 0
    if load64(tally) >= threshold:
        count, occurrences = load64(tally), load64(tally + 8)
        place = register(pairs, symbols, progress, left, right, count, occurrences) + 1
    store64(tally, 0)
    store64(tally + 8, place)


@helper
def _list_occurrences(places, neighbours, records, num_records):
    """Write the places in the records to the stretches of their pairs."""
    for index in range(num_records):
        keep_scalar()
        tally = neighbours.tally + TALLY_BYTES * load32(records + 8 * index + 4)
        next_place = load64(tally + 8)
        if next_place != 0:
            store32(places.occurrences + 4 * (next_place - 1), load32(records + 8 * index))
            store64(tally + 8, next_place + 1)


@inlined
def _clear(neighbours, num_touched):
    for index in range(num_touched):
        keep_scalar()
        store64(neighbours.tally + TALLY_BYTES * load32(neighbours.touched + 4 * index) + 8, 0)


@kernel
def fill_slots(pairs, num_pairs):
    """Enter the pairs into the empty slots of a table that has grown."""
    for number in range(num_pairs):
        pair = pairs.pair + PAIR_BYTES * number
        left, right = load32(pair + 24), load32(pair + 28)
        slot = find_slot(pairs, left, right)
        store64(slot, (left << 32 | right) + 1)
        store64(slot + 8, number)
