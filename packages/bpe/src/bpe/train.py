"""Train a byte-level BPE vocabulary from text files.

Stage: files -> *vocabulary*, the whole of this package in a few lines. Not here: the stages.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from bpe.counting.corpus import count_pretokens
from bpe.counts import PretokenCounts
from bpe.merges import learn_merges
from bpe.messages.arguments import as_paths, require, require_whole_number
from bpe.messages.excerpts import excerpt, excerpts
from bpe.messages.plural import plural
from bpe.patterns import GPT2, resolve_pattern
from bpe.special_tokens import check_special_tokens
from bpe.tie_breaking import CS336, check_tie_breaking
from bpe.vocabulary import Vocabulary

StageProgress = Callable[[str, int, int], None]
"""Called with the stage ("count" in bytes, "merge" in merges), the amount done and the total."""

_log = logging.getLogger("bpe")


def train_bpe(
    input_path: str | Path | Iterable[str | Path],
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
    tie_breaking: str = CS336,
    num_workers: int | None = None,
    max_pretokens: int | None = None,
    progress: StageProgress | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Train a byte-level BPE vocabulary on UTF-8 text files.

    Ids go to the special tokens first, then to the 256 bytes, then to the merges in order. Neither
    `num_workers` nor the order of the files changes the result. If nothing is left to merge, the
    vocabulary is smaller than requested and a warning is logged.

    Args:
        input_path: one file or several.
        vocab_size: tokens wanted, special tokens included.
        special_tokens: strings that separate documents; each becomes one token, the longest wins.
        pattern: name of a split pattern ("gpt2", "cl100k", "o200k"), or regex source.
        tie_breaking: which of equally frequent pairs merges first: "cs336" (the
            lexicographically greatest), "smallest-bytes" or "huggingface"; see `TIE_BREAKING`.
        num_workers: threads or processes that count; None: one per usable CPU.
        max_pretokens: distinct pretokens to keep while counting, which bounds memory; None keeps
            all. `count_pretokens` describes what the bound costs.
        progress: called with the stage, the amount done and the total.

    Returns:
        Tokens by id, and the merges in the order in which they were learned.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the corpus is empty or not UTF-8, or an argument is invalid.
    """
    vocabulary = train_vocabulary(
        input_path,
        vocab_size,
        special_tokens,
        pattern=pattern,
        tie_breaking=tie_breaking,
        num_workers=num_workers,
        max_pretokens=max_pretokens,
        progress=progress,
    )
    return vocabulary.tokens, vocabulary.merges


def train_vocabulary(
    input_path: str | Path | Iterable[str | Path],
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
    tie_breaking: str = CS336,
    num_workers: int | None = None,
    max_pretokens: int | None = None,
    progress: StageProgress | None = None,
) -> Vocabulary:
    """Train as `train_bpe` does; return a `Vocabulary`, ready to save and to encode with."""
    input_path = as_paths(input_path, name="input_path")
    special_tokens = check_special_tokens(special_tokens)
    check_tie_breaking(tie_breaking)  # fail before hours of counting, not after
    _num_merges(vocab_size, special_tokens)
    counts = count_pretokens(
        input_path,
        special_tokens,
        pattern=pattern,
        num_workers=num_workers,
        max_pretokens=max_pretokens,
        progress=_of_stage("count", progress),
    )
    return vocabulary_from_counts(
        counts, vocab_size, special_tokens, tie_breaking=tie_breaking, progress=progress
    )


def vocabulary_from_counts(
    counts: PretokenCounts,
    vocab_size: int,
    special_tokens: Iterable[str] | None = None,
    *,
    pattern: str | None = None,
    tie_breaking: str = CS336,
    progress: StageProgress | None = None,
) -> Vocabulary:
    """Train on counted pretokens; see `train_bpe`.

    Args:
        counts: the pretokens of the corpus.
        vocab_size: tokens wanted, special tokens included.
        special_tokens: in the order of their ids; None: those that the counts were made with.
            More are allowed, as long as the corpus does not contain them.
        pattern: None: the one that the counts were made with.
        tie_breaking: which of equally frequent pairs merges first.
        progress: called with the stage, the amount done and the total.

    Raises:
        ValueError: the counts were made with another pattern, or with special tokens that are
            not among these.

    >>> counts = PretokenCounts({b"low": 5, b" lower": 2})
    >>> vocabulary_from_counts(counts, 259, ["<|end|>"]).merges
    [(b'o', b'w'), (b'l', b'ow')]
    """
    require(counts, PretokenCounts, name="counts", needed="PretokenCounts")
    special_tokens, pattern = _settings_for(counts, special_tokens, pattern)
    num_merges = _num_merges(vocab_size, special_tokens)
    merges = learn_merges(
        counts, num_merges, tie_breaking=tie_breaking, progress=_of_stage("merge", progress)
    )
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


def _settings_for(
    counts: PretokenCounts, special_tokens: Iterable[str] | None, pattern: str | None
) -> tuple[tuple[str, ...], str]:
    """Return special tokens and pattern after checking that they suit the counts."""
    known = counts.settings
    if special_tokens is None:
        special_tokens = known.special_tokens if known else ()
    special_tokens = check_special_tokens(special_tokens)
    if pattern is None:
        pattern = known.pattern if known else GPT2
    pattern = resolve_pattern(pattern)
    if known and not (pattern == known.pattern and {*known.special_tokens} <= {*special_tokens}):
        raise ValueError(
            f"the counts were made with the pattern {excerpt(known.pattern)} and the special "
            f"tokens {excerpts(known.special_tokens)}, not with {excerpt(pattern)} and "
            f"{excerpts(special_tokens)}; pass the same pattern and at least those special "
            "tokens, or omit both"
        )
    return special_tokens, pattern


def _num_merges(vocab_size: int, special_tokens: tuple[str, ...]) -> int:
    require_whole_number(vocab_size, name="vocab_size")
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size is {vocab_size}, but 256 bytes and "
            f"{plural(len(special_tokens), 'special token')} need {smallest}; ask for at "
            "least that many"
        )
    return vocab_size - smallest


def _of_stage(stage: str, progress: StageProgress | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(stage, done, total)
