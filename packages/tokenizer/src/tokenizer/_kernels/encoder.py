"""How does a whole text become ids, on any number of threads?

Stage: text -> *ids*. A lane is what one thread needs: a cutter, a worker, and room for text and
ids. Lanes are lent to one call at a time, so one encoder serves many threads. Not here: when
kernels are worth their start (`tokenizer.engine`), and files.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bpe.kernel_parts import address_of, cutter_for, first_malformed
from tokenizer._bpe import Vocabulary
from tokenizer._kernels.decoding import Decoder
from tokenizer._kernels.memo import OVERRUN
from tokenizer._kernels.tables import Tables
from tokenizer._kernels.worker import Worker

PADDING_BYTES = 128
"""Readable bytes behind a text that make its end as quick as its middle."""


class KernelEncoder:
    """Encodes bytes that are UTF-8, and decodes.

    Args:
        vocabulary: has a token for each byte.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.dtype = np.dtype(np.uint16 if max(vocabulary.tokens) < 1 << 16 else np.uint32)
        self._pattern = vocabulary.pattern
        self._tables = Tables(vocabulary)
        self._decoder = Decoder(vocabulary.tokens)
        self._idle: dict[bool, list[Lane]] = {True: [], False: []}

    @contextmanager
    def lane(self, *, cuts_at_specials: bool = True) -> Iterator["Lane"]:
        """Lend a lane to one thread.

        Args:
            cuts_at_specials: whether the text of special tokens is them, or ordinary text.
        """
        idle = self._idle[cuts_at_specials]
        try:
            lane = idle.pop()  # one operation under the interpreter's lock
        except IndexError:
            specials = self._tables.special_ids if cuts_at_specials else {}
            lane = Lane(self._pattern, self._tables, specials)
        yield lane  # not back where an error leaves it in an unknown state
        idle.append(lane)

    def encode(self, text: bytes, *, cuts_at_specials: bool = True) -> np.ndarray:
        """Return the (n,) ids of a text."""
        source = np.frombuffer(text, np.uint8) if text else np.empty(0, np.uint8)
        out = np.empty(len(source) + OVERRUN, self.dtype)
        with self.lane(cuts_at_specials=cuts_at_specials) as lane:
            ids = lane.encode(source, out)
        return ids.copy()  # of the size that is needed

    def encode_to_list(self, text: bytes) -> list[int]:
        """Return the ids of a text."""
        return self.encode(text).tolist()

    def first_malformed(self, text: bytes) -> int:
        """Return where bytes are not UTF-8, or -1."""
        if not text:
            return -1
        return first_malformed(address_of(np.frombuffer(text, np.uint8)), len(text), len(text))

    def compile(self) -> None:
        """Call each kernel once."""
        lane = Lane(self._pattern, self._tables, {b"<|": 0})
        text = np.frombuffer(b"all of <| them", np.uint8)
        ids = lane.encode(text, np.empty(len(text) + OVERRUN, self.dtype))
        lane.worker.grow()
        self.first_malformed(b"text")
        self.decode(ids[:1])

    def decode(self, ids: np.ndarray) -> bytes | int:
        """Return the bytes of (n,) ids, or the position of the first that is no token."""
        return self._decoder.decode(ids)


class Lane:
    """What one thread needs to encode text.

    Args:
        pattern: how text is cut into pretokens.
        tables: of the vocabulary.
        special_ids: special tokens to cut at, and their ids.
    """

    def __init__(self, pattern: str, tables: Tables, special_ids: dict[bytes, int]) -> None:
        self._cutter = cutter_for(pattern, list(special_ids))
        self.worker = Worker(tables, special_ids)
        self._text = np.empty(0, np.uint8)

    def text_buffer(self, num_bytes: int) -> np.ndarray:
        """Return (num_bytes,) uint8 for a text, to be encoded by `encode_buffer`."""
        if len(self._text) < num_bytes + PADDING_BYTES:
            self._text = np.empty(num_bytes * 9 // 8 + PADDING_BYTES, np.uint8)
        return self._text[:num_bytes]

    def first_malformed(self, num_bytes: int) -> int:
        """Return where what `text_buffer` holds is not UTF-8, or -1."""
        return first_malformed(address_of(self._text), num_bytes, len(self._text))

    def encode_buffer(self, num_bytes: int, out: np.ndarray) -> np.ndarray:
        """Return the (n,) ids of what `text_buffer` holds; see `encode`."""
        return self._encode(self._text[:num_bytes], out, readable_bytes=len(self._text))

    def encode(self, text: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Return the (n,) ids of a text, written to `out`.

        Args:
            text: (m,) uint8, UTF-8.
            out: (m + OVERRUN or more,) of the dtype of ids.
        """
        return self._encode(text, out, readable_bytes=len(text))

    def _encode(self, text: np.ndarray, out: np.ndarray, *, readable_bytes: int) -> np.ndarray:
        assert len(out) >= len(text) + OVERRUN
        begin, cutter = address_of(text), self._cutter
        place = first_place = address_of(out)
        cutter.open(begin, len(text), readable_bytes)
        while count := cutter.cut():
            place = self.worker.encode(
                cutter.origin,
                cutter.ends_address,
                count=count,
                readable_end=begin + readable_bytes,
                out=place,
            )
        return out[: (place - first_place) // out.itemsize]
