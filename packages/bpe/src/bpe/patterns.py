"""Which regular expression cuts text into pretokens?

Stage: text -> *pretokens* -> merges -> ids. A split pattern has one owner, so that training and
encoding cannot disagree. Not here: running the pattern (`pretokens`) and the character classes
it names (`unicode_classes`).
"""

import regex

from bpe.messages.arguments import require
from bpe.messages.excerpts import excerpt

GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""English contractions, then letters, digits or symbols with at most one space in front."""

CL100K = "|".join(
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
"""As GPT-2, but numbers by three digits, newlines apart, any one symbol in front of a word.

As published first, and as HF tokenizers have it. Departure: tiktoken 0.14 keeps white space that
ends a text in one pretoken even where it holds newlines.
"""

LLAMA3 = CL100K
"""Llama 3 took over the pattern of cl100k as it was."""

QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
"""As cl100k, but each digit by itself."""

_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
"""As cl100k, but a word also ends where its case rises, and contractions stay attached."""

PATTERNS: dict[str, str] = {
    "gpt2": GPT2,
    "cl100k": CL100K,
    "o200k": O200K,
    "llama3": LLAMA3,
    "qwen2": QWEN2,
}
"""The known split patterns by name. Each of them matches every character of any text."""


def resolve_pattern(pattern: str) -> str:
    r"""Return the regex source that `pattern` names, or `pattern` itself where it is a source.

    Raises:
        ValueError: neither a known name nor a pattern that the `regex` module compiles, or one
            that looks like a misspelt name, or searches from the end of the text.

    >>> resolve_pattern("gpt2") == GPT2
    True
    >>> resolve_pattern(r"\S+|\s+")
    '\\S+|\\s+'
    """
    require(pattern, str, name="pattern", needed=f"one of {', '.join(PATTERNS)}, or a regex as str")
    if pattern in PATTERNS:
        return PATTERNS[pattern]
    if not pattern:
        raise ValueError(f"the split pattern is empty; name one of {', '.join(PATTERNS)}")
    if regex.fullmatch(r"[\w-]+", pattern):
        raise ValueError(
            f"there is no split pattern named {excerpt(pattern)}; use one of "
            f"{', '.join(PATTERNS)} or, if it is meant as a pattern of the regex module, put it "
            "into (?:...)"
        )
    try:
        pattern.encode()
        is_reversed = regex.compile(pattern).flags & regex.REVERSE
    except (regex.error, UnicodeEncodeError, RecursionError, OverflowError) as error:
        raise ValueError(
            f"split pattern {excerpt(pattern)} is not a valid regular expression ({error}); "
            f"use one of {', '.join(PATTERNS)} or a pattern of the regex module"
        ) from error
    if is_reversed:
        raise ValueError(
            f"split pattern {excerpt(pattern)} searches backwards; leave out its flag r"
        )
    return pattern
