"""Find the longest token that is a prefix of a text.

Stage: bytes -> *symbols*. A tree of the bytes of all symbols is stored as one hash table from a
node and a byte to the next node. Where a symbol ends, the number of the node is that of the symbol,
so no other memory is accessed. Not here: whether that token belongs there (`matching`).
"""

from bpe.kernel_parts import (
    GOLDEN,
    WORD,
    choose,
    helper,
    inlined,
    kernel,
    load8,
    load64,
    multiply,
    shift_right,
    store32,
    store64,
)
from tokenizer._kernels.tables.layout import NUM_SYMBOLS, SYMBOLS, TREE, TREE_MASK, TREE_SHIFT, get
from tokenizer._kernels.tables.symbols import SHORTER, SYMBOL_BYTES

_NODE_BITS = 28
_NODE = (1 << _NODE_BITS) - 1
_SLOT_BYTES = 8  # node << 36 | byte << 28 | next node; 0: empty


@inlined
def _slot_of(state, node, byte):
    """Return the address of the slot of a step, or of the empty one where it belongs."""
    tree, mask = get(state, TREE), get(state, TREE_MASK)
    key = node << 8 | byte
    place = shift_right(multiply(key, GOLDEN), get(state, TREE_SHIFT))
    while True:
        slot = tree + _SLOT_BYTES * place
        found = load64(slot)
        if shift_right(found, _NODE_BITS) == key or found == 0:
            return slot
        place = (place + 1) & mask


@helper
def longest_symbol(state, address, end):
    """Return the longest symbol that is a prefix of the bytes from `address` to `end`."""
    num_symbols = get(state, NUM_SYMBOLS)
    node = symbol = load8(address)
    address += 1
    while address < end:
        node = load64(_slot_of(state, node, load8(address))) & _NODE
        if node == 0:
            break
        symbol = choose(shift_right(node - num_symbols, 63), node, symbol)
        address += 1
    return symbol


@kernel
def grow_tree(state, content, num_symbols, starts, lengths, symbols):
    """Put symbols into an empty tree, and record the longest other symbol that begins each one.

    Args:
        state: address of the fields of `layout`.
        content: address of the bytes of all symbols.
        num_symbols: how many.
        starts: address of int64 per symbol: where it begins in `content`.
        lengths: address of int64 per symbol; ascending, so a node exists before what continues it.
        symbols: address of int64 per symbol.

    Returns:
        Whether half of the slots were enough; if not, try again with more.
    """
    num_nodes, num_free = get(state, NUM_SYMBOLS), (get(state, TREE_MASK) + 1) >> 1
    for index in range(num_symbols):
        address, symbol = content + load64(starts + 8 * index), load64(symbols + 8 * index)
        end = address + load64(lengths + 8 * index)
        shorter, node = WORD, load8(address)
        address += 1
        while address < end:
            shorter = choose(shift_right(node - get(state, NUM_SYMBOLS), 63), node, shorter)
            slot = _slot_of(state, node, load8(address))
            address += 1
            if load64(slot) == 0:
                following = symbol
                if address < end:
                    following = num_nodes
                    num_nodes += 1
                num_free -= 1
                if num_free == 0:
                    return False
                store64(slot, (node << 8 | load8(address - 1)) << _NODE_BITS | following)
            node = load64(slot) & _NODE
        store32(get(state, SYMBOLS) + SYMBOL_BYTES * symbol + SHORTER, shorter)
    return True
