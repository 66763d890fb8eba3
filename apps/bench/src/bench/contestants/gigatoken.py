"""Encode, decode and train with gigatoken, which is written in Rust with SIMD.

It gets files by name with a separator, which its documentation calls the fastest way. Its thread
pool follows RAYON_NUM_THREADS and the allowed CPUs. The functions that need it import it, before
anything is timed, because doctests read this module even if it is not installed.
"""

# pyright: reportMissingImports=false
# Peers come with an extra, and may not be there.

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.texts.vocabulary import END_OF_TEXT

if TYPE_CHECKING:
    import awkward
    from gigatoken import TextFileSource, Tokenizer

_TIES = {"huggingface": "huggingface", "smallest-bytes": "assembled_bytes"}


def file_encoder(
    vocabulary: Path, *, num_threads: int, mode: str = "pool"
) -> Callable[[Path], "awkward.Array"]:
    """Return a function from a file to ids in memory, with its pool or on the calling thread."""
    tokenizer = _load(vocabulary)
    return lambda path: tokenizer.encode_files(_source(path), parallel=mode == "pool")


def flat(ids: "awkward.Array") -> np.ndarray:
    """Return all ids in one array, as a view."""
    import awkward

    return awkward.to_numpy(awkward.flatten(ids))


def file_writer(vocabulary: Path, *, num_threads: int) -> Callable[[Path, Path], object]:
    """Return a function from a file to a file of ids; it cannot write files, so numpy does."""
    encode = file_encoder(vocabulary, num_threads=num_threads)

    def write(source: Path, destination: Path) -> None:
        with destination.open("wb") as file:
            np.save(file, flat(encode(source)))
            os.fsync(file.fileno())  # like ours

    return write


def text_encoder(vocabulary: Path) -> Callable[[str], list[int]]:
    """Return a function from a short text to a list."""
    encode = _load(vocabulary).encode
    return lambda text: encode(text).tolist()


def decoder(vocabulary: Path) -> Callable[[object], bytes]:
    """Return a function from ids to bytes; an array of uint32 is its fastest input."""
    return _load(vocabulary).decode


def trainer(*, num_threads: int, ties: str) -> Callable[[Path, int], list[tuple[bytes, bytes]]]:
    """Return a function from a file and a vocabulary size to merges."""
    from gigatoken import train_bpe

    rule = _TIES[ties]

    def train(path: Path, vocab_size: int) -> list[tuple[bytes, bytes]]:
        return train_bpe(_source(path), vocab_size, [END_OF_TEXT], tie_breaking=rule)[1]

    return train


def start_code(vocabulary: Path, *, how: str) -> str:
    """Return a minimal program that defines `encode`."""
    path = str(vocabulary / "tokenizer" / "tokenizer.json")
    return f"from gigatoken import Tokenizer\nencode = Tokenizer({path!r}).encode"


def _load(vocabulary: Path) -> "Tokenizer":
    from gigatoken import Tokenizer

    return Tokenizer(vocabulary / "tokenizer" / "tokenizer.json")


def _source(path: Path) -> "TextFileSource":
    from gigatoken import TextFileSource

    return TextFileSource([path], separator=END_OF_TEXT)
