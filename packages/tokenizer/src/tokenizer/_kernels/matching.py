"""Encode one pretoken by matching tokens, without merging.

Stage: pretokens -> *ids*. Tokens are the result of merging exactly if each two neighbours are the
result of merging their bytes: the first merge across a border would join the same two symbols,
whatever is farther away. So the longest token is tried first, then the longest prefix of it that is
a token; if none fits the token before, that one is taken back. Merging gives one result for the
bytes up to a place, so a place that once led nowhere is never tried again, and the time is linear.
Not here: merges in an order that does not allow this (`merging_long`).
Source: van Antwerpen and Neubeck 2024, So many tokens, so little time (GitHub blog).
"""

from bpe.kernel_parts import WORD, helper, load32, load64, shift_right, store32, store64
from tokenizer._kernels.tables.layout import SCRATCH, SCRATCH_BYTES, SYMBOL_IDS, SYMBOLS, get
from tokenizer._kernels.tables.prefixes import longest_symbol
from tokenizer._kernels.tables.symbols import ANY_TIME, SHORTER, SYMBOL_BYTES, are_apart, length_of

SCRATCH_PER_BYTE = 5
"""Bytes of SCRATCH per byte of a pretoken, with some to spare."""


@helper
def match_tokens(state, address, length):
    """Leave the ids of a pretoken in SCRATCH, as uint32; return how many.

    SCRATCH holds the symbols so far, then one bit per place that leads nowhere.
    """
    symbols = get(state, SCRATCH)
    hopeless = symbols + 4 * get(state, SCRATCH_BYTES)
    for word in range((length >> 6) + 1):
        store64(hopeless + 8 * word, 0)
    place = count = 0
    while place < length:
        symbol = longest_symbol(state, address + place, address + length)
        end = place + length_of(state, symbol)
        while not _suits(state, symbols, hopeless, count, symbol, end):
            symbol = _shorter(state, symbol)
            while symbol == WORD:
                word = hopeless + 8 * (place >> 6)
                store64(word, load64(word) | 1 << (place & 63))
                count -= 1
                symbol = load32(symbols + 4 * count)
                place -= length_of(state, symbol)
                symbol = _shorter(state, symbol)
            end = place + length_of(state, symbol)
        store32(symbols + 4 * count, symbol)
        count += 1
        place = end
    ids = get(state, SYMBOL_IDS)
    for index in range(count):
        store32(symbols + 4 * index, load32(ids + 4 * load32(symbols + 4 * index)))
    return count


@helper
def _suits(state, symbols, hopeless, count, symbol, end):
    """Whether a symbol can follow the symbols so far, and something can follow its end."""
    if shift_right(load64(hopeless + 8 * (end >> 6)), end & 63) & 1:
        return False
    return count == 0 or are_apart(state, load32(symbols + 4 * count - 4), symbol, ANY_TIME)


@helper
def _shorter(state, symbol):
    """Return the longest other symbol that is a prefix of this one, or WORD."""
    return load32(get(state, SYMBOLS) + SYMBOL_BYTES * symbol + SHORTER)
