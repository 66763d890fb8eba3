"""Encode and decode with OpenAI's tiktoken, which cannot train."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tiktoken import Encoding
from tiktoken.load import load_tiktoken_bpe
from tiktoken_ext.openai_public import r50k_pat_str

from bench.texts.vocabulary import END_OF_TEXT, read_end_of_text_id


def file_encoder(vocabulary: Path, *, num_threads: int) -> Callable[[Path], np.ndarray]:
    """Return a function from a file to ids in memory, always on one thread."""
    encoding = _load(vocabulary)

    def encode(path: Path) -> np.ndarray:
        with path.open(encoding="utf-8", newline="") as file:
            return encoding.encode_to_numpy(file.read(), allowed_special="all")

    return encode


def text_encoder(vocabulary: Path) -> Callable[[str], list[int]]:
    """Return its fastest function from a short text to a list, without special tokens."""
    return _load(vocabulary).encode_ordinary


def decoder(vocabulary: Path) -> Callable[[Sequence[int]], bytes]:
    """Return a function from ids to bytes; a list is its fastest input."""
    return _load(vocabulary).decode_bytes


def start_code(vocabulary: Path, *, how: str) -> str:
    """Return a minimal program that defines `encode`."""
    ranks = str(vocabulary / "ranks.tiktoken")
    special = {END_OF_TEXT: read_end_of_text_id(vocabulary)}
    return (
        "from tiktoken import Encoding\n"
        "from tiktoken.load import load_tiktoken_bpe\n"
        f"encode = Encoding('gpt2', pat_str={r50k_pat_str!r}, special_tokens={special!r}, "
        f"mergeable_ranks=load_tiktoken_bpe({ranks!r})).encode"
    )


def _load(vocabulary: Path) -> Encoding:
    return Encoding(
        "gpt2",
        pat_str=r50k_pat_str,
        mergeable_ranks=load_tiktoken_bpe(str(vocabulary / "ranks.tiktoken")),
        special_tokens={END_OF_TEXT: read_end_of_text_id(vocabulary)},
    )
