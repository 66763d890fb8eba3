"""Read text of any size in pieces, from plain or compressed files.

Stage: files -> *pieces* -> ids. A piece ends where text can be cut without changing its ids, so
pieces are encoded separately, in any order. Compressed files are read as streams, with the same
borders. Not here: encoding pieces, and joining the results (`encoding`).
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tokenizer._bpe import Readable, cut_files, cut_stream

COMPRESSED = (".gz", ".zst")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of one source."""

    path: Path
    start_byte: int
    """In the decompressed text."""
    num_bytes: int
    content: bytes | None
    """None: read the text from the file, at `start_byte`."""
    num_done: int
    """Bytes on disk read so far."""
    starts_file: bool
    """Whether this is the first piece of its file."""

    def read_into(self, buffer: np.ndarray) -> None:
        """Read the text into (num_bytes,) uint8.

        Raises:
            OSError: the file cannot be read, or has become shorter.
        """
        if self.content is not None:
            buffer[:] = np.frombuffer(self.content, np.uint8)
            return
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.start_byte)
            view = buffer.data
            while len(view):
                num_read = file.readinto(view)
                if not num_read:
                    raise OSError(f"{self.path} was truncated while it was read; encode it again")
                view = view[num_read:]


def cut_sources(
    paths: Sequence[Path], special_tokens: tuple[str, ...], *, cuts_at_spaces: bool
) -> Iterator[Piece]:
    """Yield the pieces of the files in order.

    Args:
        paths: text files; *.gz and *.zst are decompressed.
        special_tokens: text can be cut before any of them.
        cuts_at_spaces: whether the split pattern allows a cut between a visible ASCII character
            and a space.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a compressed file is damaged, or this Python cannot decompress it.
    """
    num_finished = 0
    for path in paths:
        if path.suffix in COMPRESSED:
            yield from _cut_compressed(path, special_tokens, cuts_at_spaces, num_finished)
        else:
            for part in cut_files([path], special_tokens, cut_at_spaces=cuts_at_spaces):
                yield Piece(
                    path=path,
                    start_byte=part.start_byte,
                    num_bytes=part.num_bytes,
                    content=None,
                    num_done=num_finished + part.end_byte,
                    starts_file=part.start_byte == 0,
                )
        num_finished += path.stat().st_size


def _cut_compressed(
    path: Path, special_tokens: tuple[str, ...], cuts_at_spaces: bool, num_finished: int
) -> Iterator[Piece]:
    start = 0
    with path.open("rb") as file, _decompressed(file, path) as stream:
        for content in cut_stream(stream, special_tokens, cut_at_spaces=cuts_at_spaces):
            yield Piece(
                path=path,
                start_byte=start,
                num_bytes=len(content),
                content=content,
                num_done=num_finished + file.tell(),
                starts_file=start == 0,
            )
            start += len(content)


@contextmanager
def _decompressed(file: BinaryIO, path: Path) -> Iterator[Readable]:
    stream, damage = _open_gzip(file, path) if path.suffix == ".gz" else _open_zstd(file, path)
    try:
        yield stream
    except damage as error:
        raise ValueError(
            f"{path} is damaged or not a {path.suffix} file ({error}); get it again"
        ) from error


_Opened = tuple[Readable, tuple[type[Exception], ...]]
"""A stream, and what reading it raises if it is damaged."""


def _open_gzip(file: BinaryIO, path: Path) -> _Opened:
    try:
        import gzip
        import zlib
    except ImportError:
        raise ValueError(
            f"{path} needs zlib, which this Python was built without; decompress the file first"
        ) from None
    return gzip.GzipFile(fileobj=file), (EOFError, gzip.BadGzipFile, zlib.error)


def _open_zstd(file: BinaryIO, path: Path) -> _Opened:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise ValueError(
            f"{path} needs a zstd decompressor, which Python includes from 3.14 on (unless built "
            "without it); install tokenizer with the extra zstd (backports.zstd), or decompress "
            "the file first"
        ) from None
    return zstd.ZstdFile(file), (EOFError, zstd.ZstdError)
