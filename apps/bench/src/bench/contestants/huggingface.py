"""Encode and train with Hugging Face's tokenizers.

Its trainer would split files at line ends, which is a different pretokenization, so it gets
documents. `encode_batch_fast` leaves out the offsets.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from bench.texts.vocabulary import END_OF_TEXT, read_documents
from bpe import byte_to_unicode

_DOCUMENTS_AT_ONCE = 256  # their encodings take a hundred times as much memory as the ids


def file_encoder(vocabulary: Path, *, num_threads: int) -> Callable[[Path], np.ndarray]:
    """Return a function from a file to ids in memory."""
    tokenizer = _load(vocabulary)

    def encode(path: Path) -> np.ndarray:
        documents, ids = read_documents(path), []
        for first in range(0, len(documents), _DOCUMENTS_AT_ONCE):
            batch = documents[first : first + _DOCUMENTS_AT_ONCE]
            encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            ids += [np.array(encoding.ids, np.uint32) for encoding in encodings]
        return np.concatenate(ids)

    return encode


def text_encoder(vocabulary: Path) -> Callable[[str], list[int]]:
    """Return a function from a short text to a list."""
    encode = _load(vocabulary).encode
    return lambda text: encode(text, add_special_tokens=False).ids


def trainer(*, num_threads: int, ties: str) -> Callable[[Path, int], Tokenizer]:
    """Return a function from a file and a vocabulary size to a tokenizer."""

    def train(path: Path, vocab_size: int) -> Tokenizer:
        tokenizer = Tokenizer(BPE())
        tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
        settings = BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(read_documents(path), settings)
        return tokenizer

    return train


def merges(trained: Tokenizer) -> list[tuple[bytes, bytes]]:
    """Return the merges as bytes."""
    spelled = {character: byte for byte, character in byte_to_unicode().items()}

    def to_bytes(token: str) -> bytes:
        return bytes(spelled[character] for character in token)

    found = json.loads(trained.to_str())["model"]["merges"]
    return [(to_bytes(first), to_bytes(second)) for first, second in found]


def start_code(vocabulary: Path, *, how: str) -> str:
    """Return a minimal program that defines `encode`."""
    path = str(vocabulary / "tokenizer" / "tokenizer.json")
    return (
        "from tokenizers import Tokenizer\n"
        f"tokenizer = Tokenizer.from_file({path!r})\n"
        "encode = lambda text: tokenizer.encode(text).ids"
    )


def _load(vocabulary: Path) -> Tokenizer:
    return Tokenizer.from_file(str(vocabulary / "tokenizer" / "tokenizer.json"))
