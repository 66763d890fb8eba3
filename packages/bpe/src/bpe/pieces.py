"""Where may a file be cut without changing its pretokens?

Stage: files -> *pieces* -> pretoken counts. A border must have the same pretokens on both sides
whether or not the text is cut there. Not here: counting.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

PIECE_BYTES = 1 << 20
"""Size that pieces are cut to, as nearly as the borders in the text allow."""

_FIRST_WINDOW_BYTES, _WINDOW_BYTES = 1 << 10, 1 << 16  # in which a border is looked for


@dataclass(frozen=True)
class Piece:
    """A range of a file, to be read by whoever counts it."""

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
            ValueError: a byte that is not UTF-8, named by file and offset.
        """
        with self.path.open("rb") as file:
            file.seek(self.start_byte)
            content = file.read(self.num_bytes)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.path}: byte {self.start_byte + error.start} "
                f"(0x{content[error.start]:02x}) is not valid UTF-8 ({error.reason}); "
                "convert the file to UTF-8 or leave it out"
            ) from error


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
        special_tokens: a file may be cut in front of any of them.
        cut_at_spaces: whether the split pattern allows a cut between a visible ASCII character
            and a space.
        piece_bytes: size that the pieces should have; they end at the next border.
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
    stream: BinaryIO,
    special_tokens: tuple[str, ...] = (),
    *,
    cut_at_spaces: bool,
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[bytes]:
    """Yield the content of a stream in pieces, cut as `cut_files` cuts files.

    Args:
        stream: open for reading, such as a file being decompressed; need not be seekable.
        special_tokens: see `cut_files`.
        cut_at_spaces: likewise.
        piece_bytes: size that the pieces should have; they end at the next border.
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
        # What is held is searched anew each time: waiting until it doubles keeps that linear.
        wanted = max(piece_bytes, len(held))
    if held:
        yield held


class _Borders:
    """Finds places at which no special token and no pretoken is cut in two."""

    def __init__(self, special_tokens: tuple[bytes, ...], *, cut_at_spaces: bool) -> None:
        self._special_tokens = special_tokens
        self._cut_at_spaces = cut_at_spaces
        self._reach = max(map(len, special_tokens), default=1)

    def find(self, file: BinaryIO, *, after: int) -> int | None:
        """Return the first border at or behind an offset; None where the file ends before it."""
        if not self._special_tokens and not self._cut_at_spaces:
            return None
        window_bytes = _FIRST_WINDOW_BYTES
        while True:
            # The window begins early enough to see what straddles its first candidate, and
            # candidates count only where the window shows all that may straddle them.
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
        """Yield the places in front of special tokens and, where that is allowed, of spaces."""
        wanted = [_occurrences(special, window, start) for special in self._special_tokens]
        if self._cut_at_spaces:
            wanted.append(_space_borders(window, start))
        return merge(*wanted)

    def _is_straddled(self, window: bytes, place: int) -> bool:
        """Whether some special token begins before `place` and ends behind it."""
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

    None of the known patterns has a pretoken in which the one is followed by the other, and none
    looks ahead from a visible character: both sides of that place split independently.
    """
    text = np.frombuffer(window, np.uint8)[max(start - 1, 0) :]
    is_visible = (text[:-1] > 0x20) & (text[:-1] < 0x7F)
    borders = np.flatnonzero(is_visible & (text[1:] == 0x20)) + max(start, 1)
    yield from borders.tolist()
