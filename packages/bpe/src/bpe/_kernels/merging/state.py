"""Lay out the memory that the merging kernels work on.

Stage: pretoken counts -> *merges*. Each group of addresses and sizes is passed to kernels as one
tuple; `Progress` holds what kernels change apart from the arrays. `learning` owns the arrays. Not
here: what happens to them (`pairs`, `steps`).

The bytes of the distinct pretokens lie one after another, with a border between any two: these are
the *places*. A symbol (a byte, or 256 + the rank of a merge) is written at its first and at its
last place, so its neighbours are found without links; the places between are out of date.
"""

from typing import NamedTuple

from bpe._kernels.compiling import inlined
from bpe._kernels.machine import WORD, load32, load64, store32, store64

BORDER = WORD
"""Symbol between two pretokens."""
NO_SYMBOL = 1 << 31
"""From here on, a symbol is a border, or marks a place that no longer begins a symbol."""
HEAVY = 1 << 31
"""Smaller weights are stored at the place; otherwise it holds HEAVY + the pretoken's number."""
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
    occurrences: int  # uint32 places, one stretch per pair, ascending
    records: int  # 8 bytes per place: working memory


class Symbols(NamedTuple):
    """What symbols consist of; addresses, indexed by symbol."""

    text: int  # uint8: the original bytes of all places
    first: int  # uint32, a place where the symbol was seen; unused for bytes
    length: int  # uint32, in bytes
    key: int  # int64: among pairs of equal count, the greater key first
    direction: int  # 1 or -1: among equal keys, the greater or the smaller bytes first
    merges: int  # {uint32 left, uint32 right} by rank


class Pairs(NamedTuple):
    """The pairs that can still merge; addresses."""

    # {int64 count, int64 first occurrence, int64 occurrences, uint32 left, uint32 right}; a pair
    # never gains occurrences, and some of them may be out of date.
    pair: int
    heap: int  # {int64 count, int64 pair}: the counts when last examined
    slots: int  # {int64 key + 1, int64 pair}: finds a pair by its key
    slot_mask: int  # in bytes
    capacity: int


class Neighbours(NamedTuple):
    """The symbols on one side of the pair being merged; addresses."""

    tally: int  # {int64 weight, int64 occurrences} by symbol; zero between steps
    touched: int  # uint32 symbols whose tally is not zero


class Progress(NamedTuple):
    """Offsets in the vector of int64 that kernels change, in bytes."""

    num_symbols: int
    num_pairs: int
    heap_size: int
    num_occurrences: int
    threshold: int


FIELDS = Progress(*range(0, 8 * len(Progress._fields), 8))
NUM_SYMBOLS, NUM_PAIRS, HEAP_SIZE, NUM_OCCURRENCES, THRESHOLD = FIELDS


@inlined
def symbol_at(places, place):
    """Return the symbol written at a place; valid where one begins or ends."""
    return load32(places.place + PLACE_BYTES * place)


@inlined
def write_symbol(places, place, symbol):
    """Write a symbol at a place."""
    store32(places.place + PLACE_BYTES * place, symbol)


@inlined
def weight_at(places, place):
    """Return how often the pretoken at a place occurs."""
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
