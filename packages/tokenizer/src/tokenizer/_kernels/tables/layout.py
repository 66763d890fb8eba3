"""Lay out the state that encoding kernels work on.

Stage: none. A kernel gets one address, that of a vector of int64: addresses and sizes of tables,
at the positions named here. `building` owns what belongs to a vocabulary, `worker` what belongs to
one thread. Not here: what the tables hold (`pairs`, `memo`).
"""

from bpe.kernel_parts import load_field, store_field

(
    # Pairs of symbols and what they make.
    PAIRS,  # slots of left << 42 | right << 21 | number of the merge
    PAIR_SHIFT,
    DISPLACEMENTS,  # uint32 per bucket
    BUCKET_SHIFT,
    BYTE_PAIRS,  # uint32 by left byte << 8 | right byte: number of the merge, or 0
    PRODUCTS,  # uint32 by number of a merge: the symbol that it makes
    SYMBOL_IDS,  # uint32 per symbol
    SYMBOLS,  # what each one is made of; see `symbols`
    NUM_SYMBOLS,
    TREE,  # of the bytes of symbols, see `prefixes`; 0 if only merging can find the ids
    TREE_MASK,
    TREE_SHIFT,
    IS_WIDE,  # 0: ids are uint16, 1: uint32
    # Pretokens seen before: short ones, up to 15 bytes, and long ones.
    SHORT,
    SHORT_MASK,
    SHORT_USED,
    SHORT_LIMIT,
    LONG,
    LONG_MASK,
    LONG_USED,
    LONG_LIMIT,
    BYTES,  # long pretokens, one after another
    BYTES_USED,
    BYTES_SIZE,
    IDS,  # ids that do not fit into an entry, uint32
    IDS_USED,
    IDS_SIZE,
    # Working memory of one thread.
    GROUP_KEYS,
    GROUP_LONGS,
    NOWHERE,  # an entry that equals no key
    KEY_MASKS,
    SCRATCH,
    SCRATCH_BYTES,  # longest pretoken that SCRATCH can merge
    NUM_FIELDS,
) = range(34)

get = load_field
"""get(state, FIELD): a field of the state."""
put = store_field
"""put(state, FIELD, value): change a field of the state."""
