"""How does a corpus become a vocabulary?

Stage: files -> *vocabulary*, the whole of this package in a few lines. Not here: the stages.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from bpe.counts import PretokenCounts, count_pretokens
from bpe.merges import learn_merges
from bpe.special_tokens import check_special_tokens
from bpe.vocabulary import Vocabulary

StageProgress = Callable[[str, int, int], None]
"""Called with the stage ("count" in bytes, "merge" in merges) and the amounts done and in all."""

_log = logging.getLogger("bpe")


def train_bpe(
    input_path: str | Path | Iterable[str | Path],
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
    num_workers: int | None = None,
    progress: StageProgress | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Train a byte-level BPE vocabulary on UTF-8 text files.

    Ids are given to the special tokens first, then to the 256 bytes, then to the merges in order.
    Neither `num_workers` nor the order of the files changes the result. Where nothing is left to
    merge, the vocabulary stays smaller than asked for and a log message says so.

    Args:
        input_path: a file, or several.
        vocab_size: tokens wanted, special ones included.
        special_tokens: strings that separate documents and become one token each; longest wins.
        pattern: name of a split pattern ("gpt2", "cl100k", "o200k"), or regex source.
        num_workers: processes that count; None for one a CPU.
        progress: called with stage, amount done and amount in all.

    Returns:
        Tokens by id, and the merges in the order in which they were learnt.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the corpus is empty or not UTF-8, or an argument makes no sense.
    """
    vocabulary = train_vocabulary(
        input_path,
        vocab_size,
        special_tokens,
        pattern=pattern,
        num_workers=num_workers,
        progress=progress,
    )
    return vocabulary.tokens, vocabulary.merges


def train_vocabulary(
    input_path: str | Path | Iterable[str | Path],
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
    num_workers: int | None = None,
    progress: StageProgress | None = None,
) -> Vocabulary:
    """Train as `train_bpe` does, and return what can be saved, fingerprinted and encoded with."""
    special_tokens = check_special_tokens(special_tokens)
    _num_merges(vocab_size, special_tokens)  # before hours of counting
    counts = count_pretokens(
        input_path,
        special_tokens,
        pattern=pattern,
        num_workers=num_workers,
        progress=_of_stage("count", progress),
    )
    return vocabulary_from_counts(
        counts, vocab_size, special_tokens, pattern=pattern, progress=progress
    )


def vocabulary_from_counts(
    counts: PretokenCounts,
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
    progress: StageProgress | None = None,
) -> Vocabulary:
    r"""Train on pretokens that have been counted, with the same special tokens and pattern.

    >>> counts = PretokenCounts({b"low": 5, b" lower": 2})
    >>> vocabulary_from_counts(counts, 259, ["<|end|>"]).merges
    [(b'o', b'w'), (b'l', b'ow')]
    """
    special_tokens = check_special_tokens(special_tokens)
    num_merges = _num_merges(vocab_size, special_tokens)
    merges = learn_merges(counts, num_merges, progress=_of_stage("merge", progress))
    if len(merges) < num_merges:
        _log.warning(
            "nothing is left to merge after %d merges: the vocabulary has %d tokens instead of %d",
            len(merges),
            vocab_size - num_merges + len(merges),
            vocab_size,
        )
    tokens = [special.encode() for special in special_tokens]
    tokens += [bytes([byte]) for byte in range(256)]
    tokens += [left + right for left, right in merges]
    return Vocabulary(dict(enumerate(tokens)), merges, special_tokens, pattern)


def _num_merges(vocab_size: int, special_tokens: tuple[str, ...]) -> int:
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size is {vocab_size}, but 256 bytes and {len(special_tokens)} special tokens "
            f"need {smallest}; ask for at least that many"
        )
    return vocab_size - smallest


def _of_stage(stage: str, progress: StageProgress | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(stage, done, total)
