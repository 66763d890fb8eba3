"""Decide which of several equally frequent pairs merges first.

Stage: pretoken counts -> *merges*. Trainers differ only in this rule, so naming another trainer's
rule gives its merges. Not here: counting the pairs (`merges`).
"""

from collections.abc import Callable
from functools import cache

from bpe.byte_spelling import byte_to_unicode

Pair = tuple[bytes, bytes]

CS336 = "cs336"
SMALLEST_BYTES = "smallest-bytes"
HUGGINGFACE = "huggingface"

TIE_BREAKING: dict[str, str] = {
    CS336: "the lexicographically greatest pair",
    SMALLEST_BYTES: "the lexicographically smallest pair, as in gigatoken's assembled_bytes",
    HUGGINGFACE: "the smallest pair of ids, as in HF tokenizers: bytes by spelling, then merges",
}
"""The known rules by name, and what each one merges first."""


def check_tie_breaking(name: str) -> str:
    """Return `name` after checking that it is a rule."""
    if not isinstance(name, str) or name not in TIE_BREAKING:
        raise ValueError(f"tie_breaking is {name!r}; name one of {', '.join(TIE_BREAKING)}")
    return name


@cache
def alphabet() -> tuple[bytes, ...]:
    r"""Return the single bytes in HF's id order: by the code points that spell them.

    >>> alphabet()[0], alphabet()[-1]
    (b'!', b'\xad')
    """
    return tuple(bytes([byte]) for byte in sorted(range(256), key=byte_to_unicode().__getitem__))


def pair_order(name: str) -> tuple[Callable[[Pair], tuple], Callable[[bytes], None]]:
    """Return a sort key for pairs, first to merge first, and a function to call with new tokens."""
    ids = {token: index for index, token in enumerate(alphabet())}

    def learn(token: bytes) -> None:
        ids[token] = len(ids)

    keys: dict[str, Callable[[Pair], tuple]] = {
        CS336: _greatest_first,
        SMALLEST_BYTES: lambda pair: pair,
        HUGGINGFACE: lambda pair: (ids[pair[0]], ids[pair[1]]),
    }
    return keys[name], learn


def _greatest_first(pair: Pair) -> tuple[tuple[int, ...], ...]:
    """Return a key that sorts the lexicographically greatest pair first.

    Bytes are negated, and a positive end mark sorts a token after those that it is a prefix of.
    """
    return tuple((*(-byte for byte in token), 1) for token in pair)
