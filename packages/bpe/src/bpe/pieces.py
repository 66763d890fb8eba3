"""Cut files and streams into pieces that can be split into pretokens independently.

Stage: files -> *pieces* -> pretoken counts. Both sides of a border must have the same pretokens
whether or not the text is cut there. Not here: counting.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

PIECE_BYTES = 1 << 20
"""Target size of a piece; it ends at the next border after that."""

_FIRST_WINDOW_BYTES, _WINDOW_BYTES = 1 << 10, 1 << 16  # searched for a border


@dataclass(frozen=True)
class Piece:
    """A range of a file, read only by whatever counts it."""

    path: Path
    start_byte: int
    end_byte: int

    @property
    def num_bytes(self) -> int:
        """Length of the range."""
        return self.end_byte - self.start_byte

    def read_text(self) -> str:
        """Return the text of the range.

        Raises:
            ValueError: a byte that is not UTF-8; names file and offset.
        """
        with self.path.open("rb") as file:
            file.seek(self.start_byte)
            content = file.read(self.num_bytes)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(error, self.path, start_byte=self.start_byte) from error


class Readable(Protocol):
    """A binary stream that can at least be read."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        ...


def not_utf8(error: UnicodeDecodeError, name: str | Path, *, start_byte: int) -> ValueError:
    """Return the error that names the malformed byte of a source, whose part is at `start_byte`."""
    return ValueError(
        f"{name}: byte {start_byte + error.start} (0x{error.object[error.start]:02x}) is not UTF-8 "
        f"({error.reason}); convert it to UTF-8 or repair it"
    )


def cut_files(
    paths: Iterable[Path],
    special_tokens: tuple[str, ...] = (),
    *,
    cut_at_spaces: bool,
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[Piece]:
    """Yield pieces that cover the files in order; each file begins a new piece.

    Args:
        paths: files to cut.
        special_tokens: a file may be cut before any of them.
        cut_at_spaces: whether the split pattern allows a cut between a visible ASCII character
            and a space.
        piece_bytes: target size; a piece ends at the next border after that.
    """
    borders = _Borders(tuple(s.encode() for s in special_tokens), cut_at_spaces=cut_at_spaces)
    for path in paths:
        with path.open("rb") as file:
            start = 0
            while (end := borders.find(file, after=start + piece_bytes)) is not None:
                yield Piece(path, start, end)
                start = end
            end = file.seek(0, 2)
        if start < end:
            yield Piece(path, start, end)


def cut_stream(
    stream: Readable,
    special_tokens: tuple[str, ...] = (),
    *,
    cut_at_spaces: bool,
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[bytes]:
    """Yield the content of a stream in pieces, cut as `cut_files` cuts files.

    The stream need not be seekable, such as a file being decompressed.
    """
    borders = _Borders(tuple(s.encode() for s in special_tokens), cut_at_spaces=cut_at_spaces)
    held, wanted = b"", piece_bytes
    while block := stream.read(wanted):
        held += block
        start = 0
        while (end := borders.find(BytesIO(held), after=start + piece_bytes)) is not None:
            yield held[start:end]
            start = end
        held = held[start:]
        # The held bytes are searched again each time: waiting until they double keeps that linear.
        wanted = max(piece_bytes, len(held))
    if held:
        yield held


class _Borders:
    """Find places where a cut splits neither a special token nor a pretoken."""

    def __init__(self, special_tokens: tuple[bytes, ...], *, cut_at_spaces: bool) -> None:
        self._special_tokens = special_tokens
        self._cut_at_spaces = cut_at_spaces
        self._reach = max(map(len, special_tokens), default=1)

    def find(self, file: BinaryIO, *, after: int) -> int | None:
        """Return the first border at or after an offset; None if the file ends before one."""
        if not self._special_tokens and not self._cut_at_spaces:
            return None
        window_bytes = _FIRST_WINDOW_BYTES
        while True:
            # The window begins early enough to show what straddles its first candidate, and
            # candidates count only where it shows everything that may straddle them.
            begin = max(after - self._reach, 0)
            file.seek(begin)
            window = file.read(window_bytes + 2 * self._reach)
            last = len(window) - self._reach
            for place in self._candidates(window, after - begin):
                if place > last:
                    break
                if not self._is_straddled(window, place):
                    return begin + place
            if len(window) < window_bytes + 2 * self._reach:
                return None
            after = begin + last + 1
            window_bytes = _WINDOW_BYTES

    def _candidates(self, window: bytes, start: int) -> Iterator[int]:
        """Yield the places before special tokens and, where allowed, before spaces."""
        wanted = [_occurrences(special, window, start) for special in self._special_tokens]
        if self._cut_at_spaces:
            wanted.append(_space_borders(window, start))
        return merge(*wanted)

    def _is_straddled(self, window: bytes, place: int) -> bool:
        """Whether a special token begins before `place` and ends after it."""
        for special in self._special_tokens:
            near = window[max(place - len(special) + 1, 0) : place + len(special) - 1]
            if special in near:
                return True
        return False


def _occurrences(part: bytes, window: bytes, start: int) -> Iterator[int]:
    place = window.find(part, start)
    while place >= 0:
        yield place
        place = window.find(part, place + 1)


def _space_borders(window: bytes, start: int) -> Iterator[int]:
    """Yield the places between a visible ASCII character and a space.

    No known pattern has a pretoken that contains the two in this order, and none looks ahead from a
    visible character: both sides of such a place split independently.
    """
    text = np.frombuffer(window, np.uint8)[max(start - 1, 0) :]
    is_visible = (text[:-1] > 0x20) & (text[:-1] < 0x7F)
    borders = np.flatnonzero(is_visible & (text[1:] == 0x20)) + max(start, 1)
    yield from borders.tolist()
