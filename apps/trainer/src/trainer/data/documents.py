"""Split files into documents and hold out a share of them for validation.

Stage: files -> documents -> *training text, validation text*. Documents of any size are streamed in
pieces. Not here: which files (`corpus.py`), their encoding (`text_files.py`).
"""

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from accounting.plural import agree, plural
from trainer.data.held_out import choose_documents, is_near, keeps_share, share_of
from trainer.data.text_files import SEPARATOR

_CHUNK_BYTES = 1 << 20


def iter_pieces(path: Path, *, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[tuple[bytes, bool]]:
    r"""Yield the documents of a file in pieces, and whether each piece ends its document.

    The end of the file ends a document, too, unless only white space follows the last separator.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "corpus.txt")
    >>> _ = path.write_text("one<|endoftext|>two<|endoftext|>\n", "utf-8")
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

    The contents alone decide where a document goes: equal documents stay together, and reordering
    files only changes the order. If the share is less than one document and no documents come near
    it, the end of the text is held out instead, from the start of a line.

    Raises:
        ValueError: too little text to divide.
    """
    documents = _measure_documents(paths)
    num_documents = int(np.count_nonzero(documents.is_text))
    if not num_documents:
        raise ValueError(
            f"{', '.join(map(str, paths))}: nothing but white space and <|endoftext|>, but the "
            "corpus needs text; name other files"
        )
    is_held, share = _choose(documents, fraction=fraction)
    is_enough = int(num_documents * fraction) >= 1 or is_near(share, fraction)
    if not share or not is_enough:
        _copy_documents(paths, is_held=np.zeros_like(is_held), train=train, held=validation)
        num_bytes = _cut_tail(train, validation, fraction=fraction, otherwise=share)
        if num_bytes:
            return (
                f"no validation file: {plural(num_documents, 'document')} cannot give up "
                f"{fraction:.1%}, so the last {plural(num_bytes, 'byte')} "
                f"{agree(num_bytes, 'is', 'are')} held out"
            )
    if not share:
        raise _indivisible(documents)
    _copy_documents(paths, is_held=is_held, train=train, held=validation)
    num_held = int(np.count_nonzero(is_held))
    return (
        f"no validation file: {num_held:,} of {plural(num_documents, 'document')} "
        f"({describe_share(share, fraction)}) {agree(num_held, 'is', 'are')} held out"
    )


def _indivisible(documents: "_Documents") -> ValueError:
    sizes = documents.sizes[documents.is_text]  # all documents are equal
    times = "" if len(sizes) == 1 else f"{len(sizes):,} times "
    return ValueError(
        f"the corpus is {times}one line of {plural(int(sizes[0]) - len(SEPARATOR), 'byte')}: no "
        "place to hold out text for validation; name a validation file, or more documents, "
        "separated by <|endoftext|>"
    )


def describe_share(share: float, fraction: float) -> str:
    """Describe the share of the bytes held out, and the requested one if it differs.

    >>> describe_share(0.0501, 0.05), describe_share(0.008, 0.05)
    ('5.0% of the bytes', '0.8% of the bytes instead of 5.0%')
    """
    shown, asked = f"{share:.1%}", f"{fraction:.1%}"
    return f"{shown} of the bytes{'' if shown == asked else f' instead of {asked}'}"


@dataclass(frozen=True, slots=True)
class _Documents:
    """What decides which documents are held out, in the order of the text."""

    hashes: np.ndarray
    """(n,) uint64; hash of the content."""
    sizes: np.ndarray
    """(n,) uint64; bytes, including end-of-text."""
    is_text: np.ndarray
    """(n,) bool; whether it is not blank."""


def _measure_documents(paths: Sequence[Path]) -> _Documents:
    hashes, sizes, is_text = array("Q"), array("Q"), bytearray()
    for path in paths:
        digest, size, has_text = hashlib.blake2b(digest_size=8), len(SEPARATOR), False
        for piece, is_end in iter_pieces(path):
            digest.update(piece)
            size += len(piece)
            has_text = has_text or bool(piece.strip())
            if is_end:
                hashes.append(int.from_bytes(digest.digest(), "big"))
                sizes.append(size)
                is_text.append(has_text)
                digest, size, has_text = hashlib.blake2b(digest_size=8), len(SEPARATOR), False
    return _Documents(
        np.frombuffer(hashes, np.uint64),
        np.frombuffer(sizes, np.uint64),
        np.frombuffer(is_text, np.bool_),
    )


def _choose(documents: _Documents, *, fraction: float) -> tuple[np.ndarray, float]:
    """Return (n,) bool, the documents to hold out, and their share of the bytes of all text.

    Documents are taken in the order of their hashes, equal ones together: as many as the share of
    their number, if that is also the share of their bytes; otherwise by bytes. Blank ones are never
    held out: they are worthless as validation text.
    """
    kept = documents.is_text
    values, group, counts = np.unique(
        documents.hashes[kept], return_inverse=True, return_counts=True
    )
    sizes = np.zeros(len(values), np.int64)
    np.add.at(sizes, group, documents.sizes[kept].astype(np.int64))
    is_held = np.zeros(len(kept), np.bool_)
    if len(values) < 2:
        return is_held, 0.0
    chosen = np.cumsum(counts) <= int(counts.sum() * fraction)
    if not keeps_share(sizes, chosen, fraction=fraction):
        chosen = choose_documents(sizes, fraction=fraction)
    is_held[kept] = chosen[group]
    return is_held, share_of(sizes, chosen)


def _copy_documents(paths: Sequence[Path], *, is_held: np.ndarray, train: Path, held: Path) -> None:
    number = 0
    with train.open("wb") as train_file, held.open("wb") as held_file:
        for path in paths:
            for piece, is_end in iter_pieces(path):
                file = held_file if is_held[number] else train_file
                file.write(piece)
                if is_end:
                    file.write(SEPARATOR)
                    number += 1


def _cut_tail(train: Path, validation: Path, *, fraction: float, otherwise: float) -> int:
    """Move the end of `train`, from the start of a line, to `validation`; return its bytes.

    0: nothing moved, because no line starts there or because whole documents, with a share of
    `otherwise`, come nearer to `fraction`.
    """
    size = train.stat().st_size
    text_bytes = size - len(SEPARATOR)
    with train.open("r+b") as source:
        border = _line_border(source, round(text_bytes * (1 - fraction)), size)
        tail = 0.0 if border is None else 1 - border / text_bytes
        if border is None or (otherwise and abs(otherwise - fraction) < abs(tail - fraction)):
            return 0
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
    """Return the start of a line near `wanted` with text on both sides; None: there is none."""
    last = size - len(SEPARATOR) - 1  # a border from here on leaves no text after it
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
