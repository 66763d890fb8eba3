"""Count pretokens in compiled code, with the result of `bpe.counting.pretoken_counter`.

Stage: pieces -> *pretoken counts*. Owns the tables that the kernels count in, enlarges them and
feeds them. Not here: how counting works (`table`), and which thread counts which piece
(`bpe.counting.threads`).
"""

from collections.abc import Iterable

import numpy as np

from bpe._kernels.counting.table import (
    ENTRY_BYTES,
    GROUP,
    KEY_BYTES,
    READ_AHEAD,
    Table,
    Use,
    add_pretokens,
    count_tokens,
    move_entries,
    pack,
)
from bpe._kernels.cutting.cutter import cut_kernel
from bpe._kernels.cutting.regex_cutter import cutter_for
from bpe._kernels.cutting.validation import first_malformed
from bpe._kernels.keys import key_masks
from bpe._kernels.memory import address_of, zeroed, zeros
from bpe.packed_counts import CountSettings, Packed
from bpe.pieces import PIECE_BYTES, Piece

KERNELS = (count_tokens, add_pretokens, move_entries, pack)
FIRST_ENTRIES, FIRST_LONG_ENTRIES = 1 << 17, 1 << 15
"""Initial entries of the tables; growing them costs a tenth of the time on 100 MB."""
FIRST_CONTENT_BYTES = 1 << 20
_BORDER_BYTES = 64  # after a piece, so scanners and keys may read past its end
_GROWTH = 2


def kernels_for(pattern: str) -> tuple:
    """Return all kernels that counting with a known pattern runs."""
    return (*KERNELS, cut_kernel(pattern), first_malformed)


def add_up(parts: Iterable[Packed]) -> Packed:
    """Add up counts; together they must stay below 2^63."""
    tally = Tally()
    for part in parts:
        tally.add(part)
    return tally.packed()


class PieceCounter:
    """Counts pieces of files; each thread has its own."""

    def __init__(self, settings: CountSettings) -> None:
        special_tokens = [special.encode() for special in settings.special_tokens]
        self._cutter = cutter_for(settings.pattern, special_tokens)
        self._buffer = np.zeros(2 * PIECE_BYTES, np.uint8)
        self._tally = Tally()

    def count(self, piece: Piece) -> None:
        """Count one piece; special tokens are counted too.

        Raises:
            OSError: the file cannot be read.
            ValueError: a byte that is not UTF-8; names file and offset.
        """
        num_bytes = self._read(piece)
        address, readable = address_of(self._buffer), len(self._buffer)
        if first_malformed(address, num_bytes, readable) >= 0:
            piece.read_text()  # raises, with the place and the reason
            raise ValueError(f"{piece.path} changed while it was read; count it again")
        self._cutter.open(address, num_bytes, readable)
        while num_tokens := self._cutter.cut():
            self._tally.count(self._cutter.origin, self._cutter.ends_address, num_tokens)

    def finish(self) -> "Tally":
        """Return the counts of all pieces."""
        return self._tally

    def _read(self, piece: Piece) -> int:
        if len(self._buffer) < piece.num_bytes + _BORDER_BYTES:
            self._buffer = np.zeros(piece.num_bytes + _BORDER_BYTES, np.uint8)
        with piece.path.open("rb", buffering=0) as file:
            file.seek(piece.start_byte)
            num_bytes = 0
            room = self._buffer.data[: piece.num_bytes]
            while read := file.readinto(room[num_bytes:]):
                num_bytes += read
        return num_bytes


class Tally:
    """Counts by pretoken, in tables that grow.

    >>> tally = Tally()
    >>> text = np.frombuffer(b"low" + bytes(READ_AHEAD), np.uint8)
    >>> ends = np.array([3], np.int32)  # held here, as its address does not keep it alive
    >>> tally.count(address_of(text), address_of(ends), 1)
    >>> tally.packed().counts.tolist()
    [1]
    """

    def __init__(self) -> None:
        self._masks = key_masks()
        self._group = zeros(GROUP * KEY_BYTES // 8, np.int64)
        self._use = np.zeros(len(Use._fields), np.int64)
        self._use_address = address_of(self._use)
        self._allocate(
            num_short=FIRST_ENTRIES, num_long=FIRST_LONG_ENTRIES, num_content=FIRST_CONTENT_BYTES
        )
        # These calls do nothing but compile the kernels: unless all are compiled, work too small
        # to pay for compiling uses none of them.
        add_pretokens(self._table, self._use_address, 0, 0, 0, 0, 0)
        move_entries(self._table, 0, 0, 0, 0)

    def count(self, origin: int, ends_address: int, num_tokens: int) -> None:
        """Count a batch of a cutter; READ_AHEAD bytes past its end must be readable."""
        done, use = 0, self._use_address
        while True:
            done = count_tokens(self._table, use, origin, ends_address, done, num_tokens)
            if done == num_tokens:
                return
            self._make_room()

    def add(self, packed: Packed) -> None:
        """Add counts."""
        content = np.concatenate([packed.content, np.zeros(READ_AHEAD, np.uint8)])
        lengths, counts = map(np.ascontiguousarray, packed[1:])
        ends = np.cumsum(lengths)
        begin, num_pretokens, offset = 0, len(lengths), 0
        while True:
            begin = add_pretokens(
                self._table,
                self._use_address,
                address_of(content) + offset,
                address_of(lengths),
                address_of(counts),
                begin,
                num_pretokens,
            )
            if begin == num_pretokens:
                return
            offset = int(ends[begin - 1]) if begin else 0
            self._make_room()

    def packed(self) -> Packed:
        """Return all pretokens so far and their counts."""
        use = Use(*self._use.tolist())
        num_bytes = use.num_short_bytes + use.num_long_bytes
        num_kinds = use.num_short + use.num_long
        content = np.empty(num_bytes + READ_AHEAD, np.uint8)
        lengths, counts = np.empty(num_kinds, np.int64), np.empty(num_kinds, np.int64)
        pack(self._table, *map(address_of, (content, lengths, counts)))
        return Packed(content[:num_bytes], lengths, counts)

    def close(self) -> None:
        """Free the memory; the tally must not be used any more."""
        self._arrays = []

    def _allocate(self, *, num_short: int, num_long: int, num_content: int) -> None:
        self._arrays = [
            zeroed(ENTRY_BYTES * num_short + 64),
            zeroed(ENTRY_BYTES * num_long),
            zeroed(num_content),
        ]
        short, long, content = map(address_of, self._arrays)
        self._table = Table(
            short=short + (-short & 63),
            short_mask=ENTRY_BYTES * num_short - 64,
            max_short=num_short // 2,
            long=long,
            long_mask=ENTRY_BYTES * (num_long - 1),
            max_long=num_long // 2,
            content=content,
            max_content=num_content,
            group=address_of(self._group),
            masks=address_of(self._masks),
        )

    def _make_room(self) -> None:
        table, use, old = self._table, Use(*self._use.tolist()), self._arrays
        num_short, num_long = 2 * table.max_short, 2 * table.max_long
        num_content = table.max_content
        if use.num_short + GROUP > table.max_short:
            num_short *= _GROWTH
        if use.num_long + GROUP > table.max_long:
            num_long *= _GROWTH
        while use.num_long_bytes + use.num_wanted_bytes > num_content:
            num_content *= _GROWTH
        self._allocate(num_short=num_short, num_long=num_long, num_content=num_content)
        self._arrays[2][: use.num_long_bytes] = old[2][: use.num_long_bytes]
        short_end, long_end = table.short + table.short_mask + 64, table.long + table.long_mask
        move_entries(self._table, table.short, short_end, table.long, long_end + ENTRY_BYTES)
