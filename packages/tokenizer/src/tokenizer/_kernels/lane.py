"""Hold what one thread needs to encode text.

Stage: text -> *ids*. A lane is a cutter, a worker, and room for text and ids; kernels write to all
of them, so two threads never share a lane. Not here: which call gets which lane (`encoder`).
"""

import ctypes

import numpy as np

from bpe.kernel_parts import Cutter, address_of, cutter_for, first_malformed
from tokenizer._kernels.short_texts import MAX_BYTES, short_kernel
from tokenizer._kernels.tables.building import Tables
from tokenizer._kernels.tables.memo import OVERRUN
from tokenizer._kernels.worker import Worker

PADDING_BYTES = 128
"""Readable bytes after a text, with which its end is encoded as fast as its middle."""

# Where a bytes object keeps its content in CPython: any other way to get the address takes longer
# than encoding a sentence.
_CONTENT_OFFSET = bytes.__basicsize__ - 1
_PROBE = b"a probe"
_FINDS_CONTENT = ctypes.string_at(id(_PROBE) + _CONTENT_OFFSET, len(_PROBE)) == _PROBE


def can_encode_short(pattern: str) -> bool:
    """Whether there is a faster way for short texts."""
    return _FINDS_CONTENT and short_kernel(pattern) is not None


class Lane:
    """The working memory of one thread."""

    def __init__(self, pattern: str, tables: Tables, special_ids: dict[bytes, int]) -> None:
        self._cutter = cutter = cutter_for(pattern, list(special_ids))
        self.worker = Worker(tables, special_ids)
        self._text = np.empty(0, np.uint8)
        kernel = short_kernel(pattern)
        if kernel is not None and isinstance(cutter, Cutter):
            self._short = kernel
            self._ids = np.empty(MAX_BYTES + OVERRUN, tables.dtype)
            self._ids_view = self._ids.data
            self._addresses = (
                cutter.state_address,
                cutter.ends_address,
                self.worker.address,
                address_of(self._ids),
            )

    def encode_short(self, text: bytes) -> list[int] | None:
        """Return the ids of at most MAX_BYTES, or None if `encode` has to make room first."""
        cutter, ends, state, out = self._addresses
        content = id(text) + _CONTENT_OFFSET
        count = self._short(cutter, ends, state, content, len(text), out)
        return self._ids_view[:count].tolist() if count >= 0 else None

    def text_buffer(self, num_bytes: int) -> np.ndarray:
        """Return (num_bytes,) uint8 for a text that `encode_buffer` will encode."""
        if len(self._text) < num_bytes + PADDING_BYTES:
            self._text = np.empty(num_bytes * 9 // 8 + PADDING_BYTES, np.uint8)
        return self._text[:num_bytes]

    def first_malformed(self, num_bytes: int) -> int:
        """Return where the content of `text_buffer` is not UTF-8, or -1."""
        return first_malformed(address_of(self._text), num_bytes, len(self._text))

    def encode_buffer(self, num_bytes: int, out: np.ndarray) -> np.ndarray:
        """Return the (n,) ids of the content of `text_buffer`; see `encode`."""
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
