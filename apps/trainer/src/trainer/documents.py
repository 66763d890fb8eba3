"""Cut files into documents and hold a share of them out for validation.

Stage: files -> documents -> *training text, validation text*. Documents of any size pass through in
pieces. Not here: which files (`corpus.py`), their encoding (`text_files.py`).
"""

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trainer.text_files import SEPARATOR

_CHUNK_BYTES = 1 << 20


def iter_pieces(path: Path, *, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[tuple[bytes, bool]]:
    r"""Yield the documents of a file in pieces, each with whether it ends its document.

    The end of the file ends a document too, unless only white space follows the last separator.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "corpus.txt")
    >>> _ = path.write_text("one<|endoftext|>two<|endoftext|>\n")
    >>> [piece for piece in iter_pieces(path) if piece[0]]
    [(b'one', True), (b'two', True)]
    """
    held = len(SEPARATOR) - 1  # bytes that may begin a separator
    waiting, is_inside = b"", False
    with path.open("rb") as file:
        while chunk := file.read(chunk_bytes):
            *ended, waiting = (waiting + chunk).split(SEPARATOR)
            for piece in ended:
                yield piece, True
                is_inside = False
            if len(waiting) > held:
                yield waiting[:-held], False
                waiting, is_inside = waiting[-held:], True
    if is_inside or waiting.strip():
        yield waiting, True


def hold_out_documents(
    paths: Sequence[Path], *, fraction: float, train: Path, validation: Path
) -> str:
    """Write both texts, every document followed by end-of-text; return how they were divided.

    A document's place follows from its content: equal documents stay together, and reordering files
    changes nothing but the order. Where the share comes to less than one document, the end of the
    text is held out instead, from the beginning of a line.

    Raises:
        ValueError: too little text to divide.
    """
    hashes, is_blank = _hash_documents(paths)
    num_documents = int(np.count_nonzero(~is_blank))
    if not num_documents:
        raise ValueError(
            f"{', '.join(map(str, paths))} hold nothing but white space and <|endoftext|>, but the "
            "corpus needs text; name other files"
        )
    is_held = _choose(hashes, is_blank, num_wanted=int(num_documents * fraction))
    num_held = np.count_nonzero(is_held)
    if not num_held:
        _copy_documents(paths, is_held=is_held, train=train, held=train)
        num_bytes = _cut_tail(train, validation, fraction=fraction)
        return (
            f"no validation file: {num_documents:,} document{'s' * (num_documents != 1)} "
            f"cannot give up {fraction:.1%}, so the last {num_bytes:,} bytes are held out"
        )
    _copy_documents(paths, is_held=is_held, train=train, held=validation)
    share = validation.stat().st_size / (train.stat().st_size + validation.stat().st_size)
    return (
        f"no validation file: {num_held:,} of {num_documents:,} documents "
        f"({share:.1%} of the bytes) are held out"
    )


def _hash_documents(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) uint64, one hash of the content of each document, and (n,) bool: it is blank."""
    hashes, blanks = array("Q"), bytearray()
    for path in paths:
        digest, is_blank = hashlib.blake2b(digest_size=8), True
        for piece, is_end in iter_pieces(path):
            digest.update(piece)
            is_blank = is_blank and not piece.strip()
            if is_end:
                hashes.append(int.from_bytes(digest.digest(), "big"))
                blanks.append(is_blank)
                digest, is_blank = hashlib.blake2b(digest_size=8), True
    return np.frombuffer(hashes, np.uint64), np.frombuffer(blanks, np.bool_)


def _choose(hashes: np.ndarray, is_blank: np.ndarray, *, num_wanted: int) -> np.ndarray:
    """Return (n,) bool: the documents with the smallest hashes, equal ones all or none of them.

    Blank documents stay where they are: as validation text they would be worth nothing.
    """
    values, counts = np.unique(hashes[~is_blank], return_counts=True)
    return np.isin(hashes, values[np.cumsum(counts) <= num_wanted]) & ~is_blank


def _copy_documents(paths: Sequence[Path], *, is_held: np.ndarray, train: Path, held: Path) -> None:
    number = 0
    with train.open("wb") as train_file, held.open("ab") as held_file:
        for path in paths:
            for piece, is_end in iter_pieces(path):
                file = held_file if is_held[number] else train_file
                file.write(piece)
                if is_end:
                    file.write(SEPARATOR)
                    number += 1


def _cut_tail(train: Path, validation: Path, *, fraction: float) -> int:
    """Move the end of `train`, from the beginning of a line, to `validation`; return its bytes."""
    size = train.stat().st_size
    with train.open("r+b") as source:
        border = _line_border(source, round((size - len(SEPARATOR)) * (1 - fraction)), size)
        if border is None:
            raise ValueError(
                f"the corpus is one line of {size - len(SEPARATOR):,} bytes: no place to hold out "
                "text for validation; name a validation file or separate documents by <|endoftext|>"
            )
        source.seek(border)
        with validation.open("wb") as target:
            while chunk := source.read(_CHUNK_BYTES):
                target.write(chunk)
        source.seek(border)
        source.truncate()
        source.write(SEPARATOR)
        source.flush()
        os.fsync(source.fileno())
    return size - border - len(SEPARATOR)


def _line_border(file: BinaryIO, wanted: int, size: int) -> int | None:
    """Return the beginning of a line near `wanted` with text on both sides; None: there is none."""
    last = size - len(SEPARATOR) - 1  # a border here or later leaves nothing behind it
    for start in range(wanted, last, _CHUNK_BYTES):
        file.seek(start)
        found = file.read(min(_CHUNK_BYTES, last - start)).find(b"\n")
        if found >= 0:
            return start + found + 1
    for stop in range(wanted, 0, -_CHUNK_BYTES):
        start = max(0, stop - _CHUNK_BYTES)
        file.seek(start)
        found = file.read(stop - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
    return None
