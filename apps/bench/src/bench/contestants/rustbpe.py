"""rustbpe: trains only.

It knows no special tokens, so it gets documents and one entry less. Its ties go by ids that no
other trainer gives, so its merges are not compared. It is imported by the function that needs it,
before anything is timed, because this module is read (for its doctests) where it is not installed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.texts.vocabulary import read_documents

if TYPE_CHECKING:
    from rustbpe import Tokenizer

# GPT-2's, spelled as tiktoken does: nothing is given back, so its regex engine is faster.
_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def trainer(*, num_threads: int, ties: str) -> Callable[[Path, int], "Tokenizer"]:
    """Return what turns a file and a vocabulary size into a tokenizer."""
    from rustbpe import Tokenizer

    def train(path: Path, vocab_size: int) -> Tokenizer:
        tokenizer = Tokenizer()
        tokenizer.train_from_iterator(read_documents(path), vocab_size - 1, pattern=_PATTERN)
        return tokenizer

    return train
