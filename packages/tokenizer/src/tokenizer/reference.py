"""Encode text in the slow and obvious way; read this first.

Stage: text -> pretokens -> ids, all of it. The rest of the package must agree with this module
on every input. Not here: speed, streams, errors.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tokenizer._bpe import Pretokenizer


def encode(
    text: str,
    vocab: Mapping[int, bytes],
    *,
    merges: Sequence[tuple[bytes, bytes]],
    special_tokens: Sequence[str] = (),
    pattern: str = "gpt2",
) -> list[int]:
    """Return the ids of `text`: cut at special tokens, split into pretokens, merge each.

    >>> encode("aab", {0: b"a", 1: b"b", 2: b"ab"}, merges=[(b"a", b"b")])
    [0, 2]
    """
    token_ids = {token: token_id for token_id, token in vocab.items()}
    ids = []
    for part in _cut(text, special_tokens):
        if part in special_tokens:
            ids.append(token_ids[part.encode()])
            continue
        for pretoken in Pretokenizer(pattern).split(part):
            symbols = [bytes([byte]) for byte in pretoken.encode()]
            ids += [token_ids[token] for token in merge(symbols, merges)]
    return ids


def merge(symbols: list[bytes], merges: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Join the leftmost pair of the lowest rank, over and over, until no pair has a rank."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    while True:
        pairs = list(pairwise(symbols))
        ranked = [(ranks[pair], place) for place, pair in enumerate(pairs) if pair in ranks]
        if not ranked:
            return symbols
        _, place = min(ranked)
        symbols = [*symbols[:place], symbols[place] + symbols[place + 1], *symbols[place + 2 :]]


def _cut(text: str, special_tokens: Sequence[str]) -> list[str]:
    """Cut at special tokens and keep them; longest first, so that the longest wins."""
    if not special_tokens:
        return [text]
    longest_first = sorted(special_tokens, key=len, reverse=True)
    return re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)
