"""Encode, decode and train with this repository's `bpe` and `tokenizer`."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from bench.texts.vocabulary import END_OF_TEXT
from bpe import train_bpe
from tokenizer import Tokenizer


def file_encoder(vocabulary: Path, *, num_threads: int) -> Callable[[Path], np.ndarray]:
    """Return a function from a file to ids in memory; nothing was encoded with it before."""
    tokenizer = _load(vocabulary)
    return lambda path: tokenizer.encode_files_to_array(path, num_threads=num_threads)


def file_writer(vocabulary: Path, *, num_threads: int) -> Callable[[Path, Path], object]:
    """Return a function from a file to a file of ids."""
    tokenizer = _load(vocabulary)
    return lambda source, to: tokenizer.encode_file(source, to, num_threads=num_threads)


def text_encoder(vocabulary: Path) -> Callable[[str], list[int]]:
    """Return a function from a short text to a list."""
    return _load(vocabulary).encode


def decoder(vocabulary: Path) -> Callable[[Iterable[int]], bytes]:
    """Return a function from ids to bytes."""
    return _load(vocabulary).decode_bytes


def trainer(*, num_threads: int, ties: str) -> Callable[[Path, int], list[tuple[bytes, bytes]]]:
    """Return a function from a file and a vocabulary size to merges."""

    def train(path: Path, size: int) -> list[tuple[bytes, bytes]]:
        _, merges = train_bpe(path, size, [END_OF_TEXT], num_workers=num_threads, tie_breaking=ties)
        return merges

    return train


def warm_up(vocabulary: Path) -> None:
    """Compile or load the kernels that encode and decode."""
    _load(vocabulary)


def start_code(vocabulary: Path, *, how: str) -> str:
    """Return a minimal program that defines `encode`."""
    folder = vocabulary / "tokenizer"
    arguments = {
        "load": f"load({str(folder)!r})",
        "from_files": f"from_files({str(folder / 'vocab.json')!r}, "
        f"{str(folder / 'merges.txt')!r}, [{END_OF_TEXT!r}])",
    }[how]
    return f"from tokenizer import Tokenizer\nencode = Tokenizer.{arguments}.encode"


def _load(vocabulary: Path) -> Tokenizer:
    tokenizer = Tokenizer.load(vocabulary / "tokenizer")
    tokenizer.warm_up()
    return tokenizer
