"""Remember the ids of pretokens for one thread while it encodes.

Stage: pretokens -> *ids*. A worker owns the tables of pretokens seen before and enlarges them when
a kernel asks for room; two threads never share one. Memory is bounded: a table that may not grow
further is emptied. Not here: which worker serves which call (`encoder`).
"""

import numpy as np

from bpe.kernel_parts import SHORT_BYTES, address_of, zeros
from tokenizer._kernels import matching, merging_long
from tokenizer._kernels.encoding import (
    DONE,
    GROUP,
    IS_NEW,
    KEY_BYTES,
    LONG_FULL,
    SHORT_FULL,
    encode_batch,
    remember_special,
)
from tokenizer._kernels.long_pretokens import encode_by_matching, encode_by_merging
from tokenizer._kernels.tables import layout, merging
from tokenizer._kernels.tables.building import Tables
from tokenizer._kernels.tables.memo import LONG_ENTRY, SHORT_ENTRY, move_long, move_short

FIRST_SHORT, MAX_SHORT_ENTRIES = 1 << 14, 1 << 21  # 512 KB, 64 MB
FIRST_LONG, MAX_LONG_ENTRIES = 1 << 12, 1 << 18  # 256 KB, 16 MB
_GROWTH = 2
_SHORT_LOAD, _LONG_LOAD = 0.55, 0.5
_ARENA_BYTES = 1 << 24


class Worker:
    """Encodes batches of pretokens for one thread."""

    def __init__(self, tables: Tables, special_ids: dict[bytes, int]) -> None:
        self.dtype = tables.dtype
        self._tables, self._special_ids = tables, special_ids
        self.state = np.zeros(layout.NUM_FIELDS, np.int64)
        self.address = address_of(self.state)
        tables.fill(self.state)
        self._keys = np.zeros(GROUP * KEY_BYTES, np.uint8)
        self._longs = np.zeros(GROUP + 1, np.int32)
        self.state[layout.GROUP_KEYS] = address_of(self._keys)
        self.state[layout.GROUP_LONGS] = address_of(self._longs)
        self._bytes = zeros(_ARENA_BYTES, np.uint8)
        self._ids = zeros(_ARENA_BYTES // 4, np.uint32)
        self.state[layout.BYTES] = address_of(self._bytes)
        self.state[layout.BYTES_SIZE] = len(self._bytes)
        self.state[layout.IDS] = address_of(self._ids)
        self.state[layout.IDS_SIZE] = len(self._ids)
        self._make_scratch(0)
        self._forget()

    def encode(self, origin: int, ends: int, *, count: int, readable_end: int, out: int) -> int:
        """Encode one batch; return where the output continues. See `encode_batch`."""
        first, status = 0, DONE
        while first < count:
            first, out, status = encode_batch(
                self.address, origin, ends, count, first, readable_end, out
            )
            if status == IS_NEW:
                out = self._encode_long(origin, ends, first, out)
                first += 1
            elif status != DONE:
                self.make_room(status)
        return out

    def _encode_long(self, origin: int, ends: int, number: int, out: int) -> int:
        encode = encode_by_matching if self._tables.are_ordered else encode_by_merging
        while (behind := encode(self.address, origin, ends, number, out)) < 0:
            self._make_scratch(-behind * 3 // 2)
        return behind

    def make_room(self, status: int) -> None:
        """Provide the room that a kernel asks for by its status."""
        if status == SHORT_FULL and len(self._short) // SHORT_ENTRY < MAX_SHORT_ENTRIES:
            old, num_entries = self._short, len(self._short) // SHORT_ENTRY
            self._make_short(num_entries * _GROWTH)
            move_short(self.address, address_of(old), num_entries)
        elif status == LONG_FULL and len(self._long) // LONG_ENTRY < MAX_LONG_ENTRIES:
            old, num_entries = self._long, len(self._long) // LONG_ENTRY
            self._make_long(num_entries * _GROWTH)
            move_long(self.address, address_of(old), num_entries)
        else:
            self._forget()

    def grow(self) -> None:
        """Enlarge both tables."""
        self.make_room(SHORT_FULL)
        self.make_room(LONG_FULL)

    def _forget(self) -> None:
        """Begin with empty tables that contain only the special tokens."""
        self._make_short(FIRST_SHORT)
        self._make_long(FIRST_LONG)
        for field in (layout.SHORT_USED, layout.LONG_USED, layout.BYTES_USED, layout.IDS_USED):
            self.state[field] = 0
        for token, token_id in self._special_ids.items():
            padded = np.frombuffer(token + bytes(SHORT_BYTES + 1), np.uint8)
            remember_special(self.address, address_of(padded), len(token), token_id)

    def _make_short(self, num_entries: int) -> None:
        self._short = zeros(num_entries * SHORT_ENTRY, np.uint8)
        self.state[layout.SHORT] = address_of(self._short)
        self.state[layout.SHORT_MASK] = (num_entries - 2) * SHORT_ENTRY  # pairs are homes
        self.state[layout.SHORT_LIMIT] = int(num_entries * _SHORT_LOAD)

    def _make_long(self, num_entries: int) -> None:
        self._long = zeros(num_entries * LONG_ENTRY, np.uint8)
        self.state[layout.LONG] = address_of(self._long)
        self.state[layout.LONG_MASK] = (num_entries - 1) * LONG_ENTRY
        self.state[layout.LONG_LIMIT] = int(num_entries * _LONG_LOAD)

    def _make_scratch(self, max_bytes: int) -> None:
        way = matching if self._tables.are_ordered else merging_long
        num_bytes = merging.SCRATCH_BYTES + way.SCRATCH_PER_BYTE * max_bytes
        self._scratch = np.empty(num_bytes, np.uint8)
        self.state[layout.SCRATCH] = address_of(self._scratch)
        self.state[layout.SCRATCH_BYTES] = max_bytes
