"""Turn a vocabulary into the tables that the encoding kernels need.

Stage: vocabulary -> *tables*. Built once per tokenizer, read by all threads. Not here: what belongs
to one thread (`worker`).
"""

from collections.abc import Mapping

import numpy as np

from bpe.kernel_parts import GOLDEN, address_of, key_masks, zeros
from tokenizer._bpe import Vocabulary
from tokenizer._kernels.tables import layout
from tokenizer._kernels.tables.pairs import MAX_SYMBOLS, SYMBOL_BITS, place_pairs
from tokenizer._kernels.tables.prefixes import grow_tree
from tokenizer._kernels.tables.symbols import LENGTH, SYMBOL_BYTES, derive
from tokenizer.ids import smallest_dtype

_PAIRS_PER_BUCKET = 3
_LOAD = 0.8  # most pairs per slot
_SLOTS_PER_SYMBOL = 4  # in the first tree that is tried


class Tables:
    """The merges of a vocabulary as arrays.

    Raises:
        ValueError: more merges than the tables can number.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.dtype = smallest_dtype(max(vocabulary.tokens) + 1)
        self.special_ids = {
            special.encode(): vocabulary.ids[special.encode()]
            for special in vocabulary.special_tokens
        }
        symbols = _symbols(vocabulary)
        self._symbol_ids = _ids_by_symbol(symbols, vocabulary.ids)
        self._key_masks = key_masks()
        self._nowhere = np.zeros(8, np.int64)
        made = [symbols[left + right] for left, right in vocabulary.merges]
        self._products = np.concatenate([np.zeros(256, np.uint32), np.array(made, np.uint32)])
        # A part that no merge makes is never a neighbour, so such a merge never happens.
        lefts = np.array([symbols.get(pair[0], -1) for pair in vocabulary.merges], np.int64)
        rights = np.array([symbols.get(pair[1], -1) for pair in vocabulary.merges], np.int64)
        is_possible = (lefts >= 0) & (rights >= 0)
        numbers = np.arange(256, 256 + len(made))[is_possible]
        self._hash_pairs(lefts[is_possible] << SYMBOL_BITS | rights[is_possible], numbers)
        self._byte_pairs = np.zeros(1 << 16, np.uint32)
        is_bytes = (lefts < 256) & (rights < 256) & is_possible
        pairs_of_bytes = lefts[is_bytes] << 8 | rights[is_bytes]
        self._byte_pairs[pairs_of_bytes] = np.flatnonzero(is_bytes) + 256
        self._symbols = np.zeros((len(self._products), SYMBOL_BYTES), np.uint8)
        self._symbols[:256, LENGTH] = 1
        self._tree = np.zeros(0, np.int64)
        self._make_tree(symbols, lefts, rights)

    @property
    def are_ordered(self) -> bool:
        """Whether each merge comes after those that make its parts."""
        return len(self._tree) > 0

    def fill(self, state: np.ndarray) -> None:
        """Write the addresses into a state; this object must outlive it."""
        state[layout.PAIRS] = address_of(self._pairs)
        state[layout.PAIR_SHIFT] = self._pair_shift
        state[layout.DISPLACEMENTS] = address_of(self._displacements)
        state[layout.BUCKET_SHIFT] = self._bucket_shift
        state[layout.BYTE_PAIRS] = address_of(self._byte_pairs)
        state[layout.PRODUCTS] = address_of(self._products)
        state[layout.SYMBOL_IDS] = address_of(self._symbol_ids)
        state[layout.SYMBOLS] = address_of(self._symbols)
        state[layout.NUM_SYMBOLS] = len(self._symbols)
        if self.are_ordered:
            state[layout.TREE] = address_of(self._tree)
            state[layout.TREE_MASK] = len(self._tree) - 1
            state[layout.TREE_SHIFT] = self._tree_shift
        state[layout.IS_WIDE] = self.dtype == np.uint32
        state[layout.KEY_MASKS] = address_of(self._key_masks)
        state[layout.NOWHERE] = address_of(self._nowhere)

    def _make_tree(
        self, symbols: Mapping[bytes, int], lefts: np.ndarray, rights: np.ndarray
    ) -> None:
        """Make the tree of all symbols that texts can become; none if merges are not in order."""
        state = np.zeros(layout.NUM_FIELDS, np.int64)
        self.fill(state)
        is_awaited = np.zeros(len(self._products), np.uint8)
        if not derive(address_of(state), len(lefts), *map(address_of, (lefts, rights, is_awaited))):
            return
        lengths = np.fromiter(map(len, symbols), np.int64, len(symbols))
        starts = np.cumsum(lengths) - lengths
        numbers = np.fromiter(symbols.values(), np.int64, len(symbols))
        is_used = self._symbols.view(np.int64)[numbers, LENGTH // 8] != 0
        used = np.flatnonzero(is_used)
        used = used[np.argsort(lengths[used], kind="stable")]
        content = np.frombuffer(b"".join(symbols), np.uint8)
        ordered = starts[used], lengths[used], numbers[used]
        bits = (_SLOTS_PER_SYMBOL * len(symbols)).bit_length()
        is_grown = False
        while not is_grown:
            self._tree, self._tree_shift = zeros(1 << bits, np.int64), 64 - bits
            self.fill(state)
            addresses = map(address_of, ordered)
            is_grown = grow_tree(address_of(state), address_of(content), len(used), *addresses)
            bits += 1

    def _hash_pairs(self, keys: np.ndarray, numbers: np.ndarray) -> None:
        bucket_bits = max(4, (len(keys) // _PAIRS_PER_BUCKET).bit_length())
        slot_bits = max(4, int(len(keys) / _LOAD).bit_length())
        self._bucket_shift = 64 - bucket_bits
        with np.errstate(over="ignore"):
            spread = (keys * np.int64(GOLDEN)).view(np.uint64)
        buckets = (spread >> np.uint64(self._bucket_shift)).astype(np.int64)
        order = np.argsort(buckets, kind="stable")
        sizes = np.bincount(buckets, minlength=1 << bucket_bits)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        fullest_first = np.argsort(-sizes, kind="stable")
        fullest_first = fullest_first[: np.count_nonzero(sizes)]
        self._displacements = np.zeros(1 << bucket_bits, np.uint32)
        while True:
            self._pair_shift = 64 - slot_bits
            self._pairs = np.zeros(1 << slot_bits, np.int64)
            grouped = keys[order], numbers[order], fullest_first, starts
            places = address_of(self._pairs), self._pair_shift, address_of(self._displacements)
            if place_pairs(*grouped, *places):
                return
            slot_bits += 1


def _symbols(vocabulary: Vocabulary) -> dict[bytes, int]:
    """Number the bytes, and other tokens by the first merge that makes them."""
    if 256 + len(vocabulary.merges) >= MAX_SYMBOLS:
        raise ValueError(
            f"the vocabulary has {len(vocabulary.merges)} merges, but the kernels can number "
            f"{MAX_SYMBOLS - 257}; use a smaller vocabulary"
        )
    symbols = {bytes([byte]): byte for byte in range(256)}
    for number, (left, right) in enumerate(vocabulary.merges, start=256):
        symbols.setdefault(left + right, number)
    return symbols


def _ids_by_symbol(symbols: Mapping[bytes, int], ids: Mapping[bytes, int]) -> np.ndarray:
    table = np.zeros(max(symbols.values()) + 1, np.uint32)
    table[list(symbols.values())] = [ids[token] for token in symbols]
    return table
