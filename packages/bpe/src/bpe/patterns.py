"""Name the split patterns and look them up.

Stage: text -> *pretokens* -> merges -> ids. A split pattern has one owner, so training and
encoding cannot disagree. Not here: running a pattern (`pretokens`) and the character classes that
it names (`unicode_classes`).
"""

import logging
from functools import cache

import regex

from bpe.messages.arguments import require
from bpe.messages.excerpts import excerpt

GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""English contractions, then letters, digits or symbols after at most one space."""

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
"""As GPT-2, but up to three digits per number, newlines apart, any one symbol before a word.

As first published, and as in HF tokenizers. Departure: tiktoken 0.14 keeps white space at the end
of a text in one pretoken even if it contains newlines.
"""

LLAMA3 = CL100K
"""Llama 3 uses the pattern of cl100k unchanged."""

QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
"""As cl100k, but each digit on its own."""

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
"""As cl100k, but a word also ends before a capital after a small letter; contractions stay on."""

PATTERNS: dict[str, str] = {
    "gpt2": GPT2,
    "cl100k": CL100K,
    "o200k": O200K,
    "llama3": LLAMA3,
    "qwen2": QWEN2,
}
"""The known split patterns by name. Each of them matches every character of every text, and splits
between a visible ASCII character and a space behind it, whatever stands around them."""

SCANNED = (GPT2, CL100K, O200K, QWEN2)
"""Those with a compiled scanner (`_kernels/cutting/`), which is ten times faster."""

_log = logging.getLogger("bpe")


def resolve_pattern(pattern: str) -> str:
    r"""Return the regex source that `pattern` names, or `pattern` itself if it is regex source.

    Raises:
        ValueError: neither a known name nor a pattern that the `regex` module compiles, or one
            that looks like a misspelled name, or one that searches from the end of the text.

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
            f"{', '.join(PATTERNS)}, or wrap it in (?:...) if it is a regular expression"
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
        raise ValueError(f"split pattern {excerpt(pattern)} searches backwards; remove its flag r")
    return pattern


@cache
def warn_of_slow_pattern(pattern: str) -> None:
    """Warn, once per pattern, that it has no compiled scanner."""
    _log.warning(
        "splitting text with the regex module, about ten times slower than with the patterns %s, "
        "because no compiled scanner knows %r",
        ", ".join(name for name, source in PATTERNS.items() if source in SCANNED),
        pattern,
    )
