"""Train BPE in the slow and obvious way; read this first.

Stage: text -> *vocabulary*. This is the definition: every step counts all pairs from scratch. The
other modules compute the same result faster, and tests compare them with this one. Not here:
speed, files, progress.
Source: Sennrich et al. 2016, arXiv:1508.07909, algorithm 1, on bytes as in Radford et al. 2019
(GPT-2).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise

import regex

from bpe.byte_spelling import byte_to_unicode
from bpe.pretokens import Pretokenizer


def train_reference(
    text: str,
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
    tie_breaking: str = "cs336",
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Train on one text; see `bpe.train_bpe`.

    >>> vocab, merges = train_reference("low lower", 258)
    >>> merges, vocab[257]
    ([(b'o', b'w'), (b'l', b'ow')], b'low')
    """
    tokens = [special.encode() for special in special_tokens]
    tokens += [bytes([byte]) for byte in range(256)]
    counts = count_reference(text, special_tokens, pattern=pattern)
    merges = merge_reference(counts, vocab_size - len(tokens), tie_breaking=tie_breaking)
    tokens += [left + right for left, right in merges]
    return dict(enumerate(tokens)), merges


def count_reference(
    text: str, special_tokens: Iterable[str] = (), *, pattern: str = "gpt2"
) -> Counter[bytes]:
    """Count the pretokens between special tokens."""
    longest_first = sorted(special_tokens, key=len, reverse=True)
    separator = "|".join(map(regex.escape, longest_first))
    documents = regex.split(separator, text) if separator else [text]
    pretokenizer = Pretokenizer(pattern)
    return Counter(p.encode() for document in documents for p in pretokenizer.split(document))


def merge_reference(
    counts: Mapping[bytes, int], num_merges: int, *, tie_breaking: str = "cs336"
) -> list[tuple[bytes, bytes]]:
    """Merge the most frequent pair, over and over.

    >>> merge_reference({b"aaab": 1}, 9)
    [(b'a', b'a'), (b'aa', b'a'), (b'aaa', b'b')]
    """
    words = [([bytes([byte]) for byte in pretoken], count) for pretoken, count in counts.items()]
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < num_merges:
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, count in words:
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        most = max(pairs.values())
        tied = [pair for pair, count in pairs.items() if count == most]
        best = choose_reference(tied, merges, tie_breaking=tie_breaking)
        words = [(_merge(word, best), count) for word, count in words]
        merges.append(best)
    return merges


def choose_reference(
    tied: list[tuple[bytes, bytes]], merges: list[tuple[bytes, bytes]], *, tie_breaking: str
) -> tuple[bytes, bytes]:
    """Choose one of several equally frequent pairs, given the merges so far.

    >>> tied = [(b"a", b"~"), (b"a", b" ")]
    >>> [choose_reference(tied, [], tie_breaking=rule) for rule in ("cs336", "smallest-bytes")]
    [(b'a', b'~'), (b'a', b' ')]
    >>> choose_reference(tied, [], tie_breaking="huggingface")  # which spells the space as U+0120
    (b'a', b'~')
    """
    if tie_breaking == "cs336":
        return max(tied)
    if tie_breaking == "smallest-bytes":
        return min(tied)
    assert tie_breaking == "huggingface"
    spelling = byte_to_unicode()
    tokens = [bytes([byte]) for byte in sorted(spelling, key=spelling.__getitem__)]
    tokens += [left + right for left, right in merges]
    return min(tied, key=lambda pair: (tokens.index(pair[0]), tokens.index(pair[1])))


def _merge(word: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    for index in range(len(word) - 1):
        if (word[index], word[index + 1]) == pair:
            return [*word[:index], pair[0] + pair[1], *_merge(word[index + 2 :], pair)]
    return word
