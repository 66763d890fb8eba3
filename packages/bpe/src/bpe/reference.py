"""What does BPE training compute? Read this first: slow, and obviously right.

Stage: text -> *vocabulary*. The definition, with everything counted anew in every step. The other
modules give the same result faster; tests hold them together. Not here: speed, files, progress.
Source: Sennrich et al. 2016, arXiv:1508.07909, algorithm 1, on bytes as in Radford et al. 2019
(GPT-2).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise

import regex

from bpe.pretokens import Pretokenizer


def train_reference(
    text: str, vocab_size: int, special_tokens: Iterable[str] = (), *, pattern: str = "gpt2"
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Train on one text; see `bpe.train_bpe`.

    >>> vocab, merges = train_reference("low lower", 258)
    >>> merges, vocab[257]
    ([(b'o', b'w'), (b'l', b'ow')], b'low')
    """
    tokens = [special.encode() for special in special_tokens]
    tokens += [bytes([byte]) for byte in range(256)]
    counts = count_reference(text, special_tokens, pattern=pattern)
    merges = merge_reference(counts, vocab_size - len(tokens))
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


def merge_reference(counts: Mapping[bytes, int], num_merges: int) -> list[tuple[bytes, bytes]]:
    """Merge the most frequent pair, the lexicographically greatest among equals, again and again.

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
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        words = [(_merge(word, best), count) for word, count in words]
        merges.append(best)
    return merges


def _merge(word: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    for index in range(len(word) - 1):
        if (word[index], word[index + 1]) == pair:
            return [*word[:index], pair[0] + pair[1], *_merge(word[index + 2 :], pair)]
    return word
