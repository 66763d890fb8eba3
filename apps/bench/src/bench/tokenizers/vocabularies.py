"""Compare the contents of vocabularies.

Stage: vocabularies -> *kinds of tokens, overlap, longest tokens*. Not here: their effect on text
(`compression`).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench.texts.vocabulary import END_OF_TEXT
from bpe import Vocabulary
from bpe.messages.excerpts import excerpt
from tokenizer import Tokenizer
from tokenizer.stats import longest_tokens

KINDS = (
    "lower-case word",
    "Capitalized word",
    "CAPITALS",
    "mixedCase",
    "letters beyond ASCII",
    "digits",
    "white space",
    "punctuation and signs",
    "part of a code point",
)
"""Kinds of tokens, apart from a leading space; each token is of one kind."""
WORDS = KINDS[:5]
"""The kinds that consist of letters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LongToken:
    """One of the longest tokens, and its origin."""

    token: bytes
    id: int
    occurrences: int
    """Occurrences in the training text."""
    documents: int
    """Training documents that contain it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """Contents of a vocabulary, without single bytes and special tokens."""

    num_learnt: int
    largest_id: int
    mean_bytes: float
    kinds: dict[str, int]
    with_space_before: int
    digits_by_length: dict[int, int]
    longest_spaces: int
    """Length of the longest token that consists of spaces."""
    indentations: int
    """Tokens of white space with two spaces or more."""
    line_ends: int
    """Tokens of white space that contain a line end."""


def truncate(vocabulary: Vocabulary, size: int) -> Vocabulary:
    """Return the vocabulary that training with `size` tokens would have given.

    Merges are learned one after another, so a smaller vocabulary is the beginning of a larger one.
    """
    specials = vocabulary.special_tokens
    tokens = {token_id: vocabulary.tokens[token_id] for token_id in range(size)}
    merges = vocabulary.merges[: size - 256 - len(specials)]
    return Vocabulary(tokens, merges, specials, vocabulary.pattern)


def learnt(vocabulary: Vocabulary) -> list[bytes]:
    """Return the tokens made by merges, earliest first."""
    return [left + right for left, right in vocabulary.merges]


def contents(vocabulary: Vocabulary) -> Contents:
    """Count the contents of a vocabulary."""
    tokens = learnt(vocabulary)
    blank = [token for token in tokens if token.isspace()]
    digits = Counter(len(token.strip()) for token in tokens if kind_of(token) == "digits")
    counted = Counter(map(kind_of, tokens))
    return Contents(
        num_learnt=len(tokens),
        largest_id=max(vocabulary.tokens),
        mean_bytes=sum(map(len, tokens)) / len(tokens),
        kinds={kind: counted[kind] for kind in KINDS},
        with_space_before=sum(token[:1] == b" " and not token.isspace() for token in tokens),
        digits_by_length=dict(sorted(digits.items())),
        longest_spaces=max((len(token) for token in blank if not token.strip(b" ")), default=0),
        indentations=sum(token.count(b" ") >= 2 for token in blank),
        line_ends=sum(b"\n" in token for token in blank),
    )


def kind_of(token: bytes) -> str:
    r"""Return the kind of a token.

    >>> [kind_of(token) for token in (b" the", b"The", b" HTTP", b"camelCase", b"12", b"\n    ")]
    ['lower-case word', 'Capitalized word', 'CAPITALS', 'mixedCase', 'digits', 'white space']
    >>> [kind_of(token) for token in ("f\u00fcr".encode(), b'="', b"\xc3")]
    ['letters beyond ASCII', 'punctuation and signs', 'part of a code point']
    """
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return "part of a code point"
    if text.isspace():
        return "white space"
    text = text.strip()
    if text.isdigit():
        return "digits"
    if not re.fullmatch(r"'?[^\W\d_]+", text):
        return "punctuation and signs"
    if not text.isascii():
        return "letters beyond ASCII"
    return _kind_of_word(text.lstrip("'"))


def _kind_of_word(word: str) -> str:
    if word.islower():
        return "lower-case word"
    if word[1:].islower() or len(word) == 1:
        return "Capitalized word"
    return "CAPITALS" if word.isupper() else "mixedCase"


def only_in(one: Vocabulary, other: Vocabulary, *, count: int) -> list[bytes]:
    """Return the tokens that `one` learned earliest of those that `other` lacks.

    Tokens that later merges extend are left out, because most are not words yet.
    """
    parts = {part for merge in one.merges for part in merge}
    tokens = (token for token in learnt(one) if token not in other.ids and token not in parts)
    return list(islice(tokens, count))


def num_shared(one: Vocabulary, other: Vocabulary) -> int:
    """Return how many learned tokens are in both."""
    return len({*learnt(one)} & {*learnt(other)})


def longest(vocabulary: Vocabulary, train: Path, *, count: int) -> list[LongToken]:
    """Find the longest tokens, with their frequency and number of documents in `train`."""
    text = train.read_bytes()
    documents = text.split(END_OF_TEXT.encode())
    found = longest_tokens(Tokenizer.from_vocabulary(vocabulary), count=count)
    return [
        LongToken(
            token=token,
            id=token_id,
            occurrences=text.count(token),
            documents=sum(token in document for document in documents),
        )
        for token_id, token in found
    ]


def longest_words(vocabulary: Vocabulary, *, count: int) -> list[bytes]:
    """Return the longest tokens of letters; of equal length, the earliest."""
    words = [token for token in learnt(vocabulary) if kind_of(token) in WORDS]
    return sorted(words, key=len, reverse=True)[:count]


def shown(tokens: Sequence[bytes]) -> str:
    r"""Format tokens for people, each as a Python literal.

    >>> shown([b" self", b"\n  "])
    "' self' '\\n  '"
    """
    return " ".join(excerpt(token.decode(errors="backslashreplace")) for token in tokens)
