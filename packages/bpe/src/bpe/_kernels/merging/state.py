"""What do the merging kernels work on?

Stage: pretoken counts -> *merges*. Groups of addresses and sizes, each passed to kernels as one
tuple, and the layouts behind them; what kernels change apart from the arrays is in `Progress`.
`merging` owns the arrays. Not here: what happens to them (`merging_pairs`, `merging_steps`).

Bytes of the distinct pretokens lie one behind the other, a border between any two: these are the
*places*. A symbol (a byte, or 256 + the rank of a merge) is written at its first and at its last
place, so the symbols beside it are found without links; what lies between is out of date.
"""

from typing import NamedTuple

from bpe._kernels.compiling import inlined
from bpe._kernels.machine import WORD, load32, load64, store32, store64

BORDER = WORD
"""Symbol between two pretokens."""
NO_SYMBOL = 1 << 31
"""From here on a symbol is a border, or a place that begins no symbol any more."""
HEAVY = 1 << 31
"""Weights below this are at the place; from here on it is HEAVY + the number of the pretoken."""
PLACE_BYTES = 8
SLOT_BYTES = 16
HEAP_BYTES = 16
TALLY_BYTES = 16
PAIR_BYTES = 32


class Places(NamedTuple):
    """The pretokens; addresses."""

    place: int  # {uint32 symbol, uint32 weight} each
    num_places: int  # including the borders at both ends
    counts: int  # int64 by pretoken: weights that are too heavy for a place
    occurrences: int  # uint32 places, a stretch for each pair, ascending
    records: int  # 8 bytes for each place: working memory


class Symbols(NamedTuple):
    """What symbols are made of; addresses, by symbol."""

    text: int  # uint8: the bytes of all places, as they were in the beginning
    first: int  # uint32, a place at which the symbol was seen; not for bytes
    length: int  # uint32, in bytes
    key: int  # int64: among pairs of equal count, the greater key first
    direction: int  # 1 or -1: symbols of equal key by their bytes, greater or smaller first
    merges: int  # {uint32 left, uint32 right} by rank


class Pairs(NamedTuple):
    """The pairs that can still be merged; addresses."""

    # {int64 count, int64 first occurrence, int64 occurrences, uint32 left, uint32 right}; there
    # are never more occurrences than that, and some of them may be out of date.
    pair: int
    heap: int  # {int64 count, int64 pair}: counts as they were when last looked at
    slots: int  # {int64 key + 1, int64 pair}: where a pair is, by its key
    slot_mask: int  # in bytes
    capacity: int


class Neighbours(NamedTuple):
    """The symbols on one side of the pair that is being merged; addresses."""

    tally: int  # {int64 weight, int64 occurrences} by symbol; zero between steps
    touched: int  # uint32 symbols whose tally is not zero


class Progress(NamedTuple):
    """Places in the vector of int64 that kernels change, in bytes."""

    num_symbols: int
    num_pairs: int
    heap_size: int
    num_occurrences: int
    threshold: int


FIELDS = Progress(*range(0, 8 * len(Progress._fields), 8))
NUM_SYMBOLS, NUM_PAIRS, HEAP_SIZE, NUM_OCCURRENCES, THRESHOLD = FIELDS


@inlined
def symbol_at(places, place):
    """Return what is written at a place; a symbol where one begins or ends."""
    return load32(places.place + PLACE_BYTES * place)


@inlined
def write_symbol(places, place, symbol):
    """Change what is written at a place."""
    store32(places.place + PLACE_BYTES * place, symbol)


@inlined
def weight_at(places, place):
    """Return how often the pretoken of a place occurs."""
    weight = load32(places.place + PLACE_BYTES * place + 4)
    if weight >= HEAVY:
        return load64(places.counts + 8 * (weight - HEAVY))
    return weight


@inlined
def length_of(symbols, symbol):
    """Return the number of bytes of a symbol."""
    return load32(symbols.length + 4 * symbol)


@inlined
def add_to_tally(neighbours, num_touched, symbol, weight):
    """Add one occurrence to the tally of a symbol; return how many symbols are touched."""
    tally = neighbours.tally + TALLY_BYTES * symbol
    occurrences = load64(tally + 8)
    if occurrences == 0:
        store32(neighbours.touched + 4 * num_touched, symbol)
        num_touched += 1
    store64(tally, load64(tally) + weight)
    store64(tally + 8, occurrences + 1)
    return num_touched
