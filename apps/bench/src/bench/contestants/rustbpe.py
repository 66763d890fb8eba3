"""Train with rustbpe, which cannot encode.

It has no special tokens, so it gets documents and one entry less. It breaks ties by ids that no
other trainer assigns, so its merges are not compared. The function that needs it imports it, before
anything is timed, because doctests read this module even if it is not installed.
"""

# pyright: reportMissingImports=false
# Peers come with an extra, and may not be there.

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.texts.vocabulary import read_documents

if TYPE_CHECKING:
    from rustbpe import Tokenizer

# GPT-2's pattern in tiktoken's spelling: without backtracking, its regex engine is faster.
_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def trainer(*, num_threads: int, ties: str) -> Callable[[Path, int], "Tokenizer"]:
    """Return a function from a file and a vocabulary size to a tokenizer."""
    from rustbpe import Tokenizer

    def train(path: Path, vocab_size: int) -> Tokenizer:
        tokenizer = Tokenizer()
        tokenizer.train_from_iterator(read_documents(path), vocab_size - 1, pattern=_PATTERN)
        return tokenizer

    return train
