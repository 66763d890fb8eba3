"""Check that tokens and merges belong together and that no merge is missing.

Stage: vocab.json, merges.txt -> *vocabulary*. Files of other projects state no counts, so a file is
refused only if nothing else explains it. Tokens without a merge are common: special tokens that
were not named, and tokens that a tokenizer assigns to whole pretokens (678 in Llama 3). A merge is
missing if the merges before it make exactly two parts of a token. Ids need not follow the merges
(RoBERTa's do not), but where nearly all do, the others were moved. Not here: files that state what
they hold (`statement`).
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from bpe.tie_breaking import Pair

_LOOKS_SPECIAL = re.compile(
    rb"<.+>|\[.+\]|[A-Z_]{3,}|pad|eos|bos|sep|unk|mask|cls|user|system|assistant", re.DOTALL
)
_MAX_BYTES = 256  # longest token to take apart, which costs quadratic time
_UNRELATED = 0.25  # share of descents; in ids unrelated to the merges it is one half
_REMEDY = "lines were cut off, moved, or belong to another vocabulary; get both files again"


def check_merges(
    tokens: Mapping[int, bytes], merges: Sequence[Pair], special_tokens: Sequence[str]
) -> None:
    """Refuse merges that were truncated, reordered, or made for other tokens.

    Raises:
        ValueError: they were; names the first token or merge that shows it.
    """
    ids = {token: token_id for token_id, token in tokens.items()}
    makers: dict[bytes, int] = {}
    for rank, (left, right) in enumerate(merges):
        makers.setdefault(left + right, rank)
    follow_ids = _check_order(ids, makers, special_tokens)
    if not follow_ids:
        _check_parts(merges, makers)
    unmade = {token for token in ids if len(token) > 1} - makers.keys()
    unmade.difference_update(map(str.encode, special_tokens))
    ranks = {pair: rank for rank, pair in reversed([*enumerate(merges)])} if unmade else {}
    for token in sorted(unmade, key=ids.__getitem__):
        if len(token) > _MAX_BYTES or _LOOKS_SPECIAL.fullmatch(token):
            continue
        parts = _take_apart(token, ranks, ids, before=ids[token] if follow_ids else None)
        if len(parts) == 2 and all(part in ids for part in parts):
            raise ValueError(
                f"{len(merges):,} merges leave {len(unmade):,} tokens unmade, among them "
                f"{token!r} (id {ids[token]}), which only a merge of {parts[0]!r} and "
                f"{parts[1]!r} explains: {_REMEDY}, or name it as a special token if it is one"
            )


def _check_order(
    ids: Mapping[bytes, int], makers: Mapping[bytes, int], special_tokens: Sequence[str]
) -> bool:
    """Return whether ids ascend in the order in which the merges make them.

    A special token that is also made by merges keeps its own id; if it was not named, that id is
    below those of all bytes.

    Raises:
        ValueError: nearly all of them do.
    """
    first_byte = min((token_id for token, token_id in ids.items() if len(token) == 1), default=0)
    special = set(map(str.encode, special_tokens))
    made = [token for token in makers if ids[token] > first_byte and token not in special]
    descents = [(a, b) for a, b in pairwise(made) if ids[b] < ids[a]]
    if descents and len(descents) < _UNRELATED * len(made):
        before, token = descents[0]
        raise ValueError(
            f"merge {makers[token]} makes {token!r} (id {ids[token]}) after {before!r} (id "
            f"{ids[before]}), but nearly all merges follow the ids: {_REMEDY}"
        )
    return not descents


def _check_parts(merges: Sequence[Pair], makers: Mapping[bytes, int]) -> None:
    """Require that each merge joins only what earlier merges make."""
    for rank, pair in enumerate(merges):
        for part in pair:
            if makers.get(part, -1) > rank:
                raise ValueError(
                    f"merge {rank} joins {part!r}, which merge {makers[part]} makes: {_REMEDY}"
                )


def _take_apart(
    token: bytes, ranks: Mapping[Pair, int], ids: Mapping[bytes, int], *, before: int | None
) -> list[bytes]:
    """Return the parts that the merges make of a token; `before` limits them to smaller ids."""
    parts = [bytes([byte]) for byte in token]
    while True:
        places = [
            (ranks[pair], place)
            for place, pair in enumerate(pairwise(parts))
            if pair in ranks and (before is None or ids[pair[0] + pair[1]] < before)
        ]
        if not places:
            return parts
        _, place = min(places)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
