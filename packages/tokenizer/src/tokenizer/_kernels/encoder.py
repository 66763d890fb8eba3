"""Encode whole texts in compiled code, on any number of threads.

Stage: text -> *ids*. Each thread needs a lane; lanes are lent to one call at a time, so one encoder
serves many threads. Not here: when kernels are worth starting (`tokenizer.engine`), and files.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bpe.kernel_parts import address_of, first_malformed
from tokenizer._bpe import Vocabulary
from tokenizer._kernels.decoding import Decoder
from tokenizer._kernels.lane import Lane, can_encode_short
from tokenizer._kernels.short_texts import MAX_BYTES
from tokenizer._kernels.tables.building import Tables
from tokenizer._kernels.tables.memo import OVERRUN


class KernelEncoder:
    """Encodes bytes that are UTF-8, and decodes; the vocabulary has a token for each byte."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._pattern = vocabulary.pattern
        self._tables = Tables(vocabulary)
        self.dtype = self._tables.dtype
        self._decoder = Decoder(vocabulary.tokens)
        self._encodes_short = can_encode_short(vocabulary.pattern)
        self._idle: dict[bool, list[Lane]] = {True: [], False: []}

    @contextmanager
    def lanes(self, count: int, *, cuts_at_specials: bool = True) -> Iterator[list[Lane]]:
        """Lend lanes; the next caller gets the same ones in the same order, unless they are in use.

        Args:
            count: how many, one per thread.
            cuts_at_specials: whether the text of a special token is that token, or ordinary text.
        """
        idle = self._idle[cuts_at_specials]
        lent = [self._take(idle, cuts_at_specials=cuts_at_specials) for _ in range(count)]
        yield lent  # not returned after an error, which leaves them in an unknown state
        idle.extend(reversed(lent))

    def encode(self, text: bytes, *, cuts_at_specials: bool = True) -> np.ndarray:
        """Return the (n,) ids of a text."""
        source = np.frombuffer(text, np.uint8) if text else np.empty(0, np.uint8)
        out = np.empty(len(source) + OVERRUN, self.dtype)
        with self.lanes(1, cuts_at_specials=cuts_at_specials) as (lane,):
            ids = lane.encode(source, out)
        return ids.copy()  # frees the excess of `out`

    def encode_to_list(self, text: bytes) -> list[int]:
        """Return the ids of a text; the fastest way for a short one."""
        if self._encodes_short and len(text) <= MAX_BYTES:
            idle = self._idle[True]
            lane = self._take(idle, cuts_at_specials=True)
            ids = lane.encode_short(text)
            idle.append(lane)
            if ids is not None:
                return ids
        return self.encode(text).tolist()

    def _take(self, idle: list[Lane], *, cuts_at_specials: bool) -> Lane:
        try:
            return idle.pop()  # atomic under the interpreter's lock
        except IndexError:
            specials = self._tables.special_ids if cuts_at_specials else {}
            return Lane(self._pattern, self._tables, specials)

    def first_malformed(self, text: bytes) -> int:
        """Return where bytes are not UTF-8, or -1."""
        if not text:
            return -1
        return first_malformed(address_of(np.frombuffer(text, np.uint8)), len(text), len(text))

    def compile(self) -> None:
        """Call each kernel once."""
        lane = Lane(self._pattern, self._tables, {b"<|": 0})
        text = np.frombuffer(b"all of <| them " + 63 * b"-", np.uint8)
        ids = lane.encode(text, np.empty(len(text) + OVERRUN, self.dtype))
        if self._encodes_short:
            lane.encode_short(text.tobytes())
        lane.worker.grow()
        self.first_malformed(b"text")
        self.decode(ids[:1])

    def decode(self, ids: np.ndarray) -> bytes | int:
        """Return the bytes of (n,) ids, or the position of the first that is not a token."""
        return self._decoder.decode(ids)
