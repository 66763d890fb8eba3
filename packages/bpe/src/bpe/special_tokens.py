"""Which strings never merge with their surroundings?

Stage: text -> *text between special tokens* -> pretokens. Not here: the ids they get.
"""

from collections.abc import Iterable, Mapping

import regex

from bpe.messages.arguments import require_all, require_iterable
from bpe.messages.excerpts import excerpt


def check_special_tokens(special_tokens: Iterable[str]) -> tuple[str, ...]:
    """Return the special tokens as a tuple, once they are known to make sense.

    Raises:
        TypeError: neither a list nor another iterable.
        ValueError: a single string in place of several, or a special token that is empty,
            repeated, holds a lone surrogate, or is one byte long and so a token already.

    >>> check_special_tokens(["<|endoftext|>"])
    ('<|endoftext|>',)
    """
    if isinstance(special_tokens, str):
        raise ValueError(
            f"special_tokens is the string {excerpt(special_tokens)}; pass a list of strings"
        )
    require_iterable(special_tokens, name="special_tokens", needed="a list of strings")
    checked = tuple(special_tokens)
    seen: set[str] = set()
    for special in checked:
        if not isinstance(special, str) or not special:
            raise ValueError(f"special token {excerpt(special)} is no text; pass non-empty strings")
        if special in seen:
            raise ValueError(f"special token {excerpt(special)} is listed twice; list it once")
        seen.add(special)
        if special.isascii() and len(special) == 1:
            raise ValueError(
                f"special token {excerpt(special)} is a single byte; choose a longer one"
            )
        if any(0xD800 <= ord(character) < 0xE000 for character in special):
            raise ValueError(f"special token {excerpt(special)} holds a lone surrogate; remove it")
    return checked


def append_missing(tokens: Mapping[int, bytes], special_tokens: Iterable[str]) -> dict[int, bytes]:
    """Return the tokens by id, with an id behind the highest for each special token they lack.

    >>> append_missing({0: b"<a>", 5: b"b"}, ["<a>", "<c>"])
    {0: b'<a>', 5: b'b', 6: b'<c>'}
    """
    require_all(tokens, int, name="an id", needed="a whole number")
    require_all(tokens.values(), bytes, name="a token", needed="bytes")
    present, next_id = set(tokens.values()), max(tokens, default=-1) + 1
    missing = [token for token in map(str.encode, special_tokens) if token not in present]
    return {**tokens, **dict(enumerate(missing, start=next_id))}


def compile_special_tokens(special_tokens: Iterable[str]) -> "regex.Pattern[str] | None":
    """Compile a pattern that finds special tokens, the longest first; None without any."""
    longest_first = sorted(special_tokens, key=len, reverse=True)
    if not longest_first:
        return None
    return regex.compile("|".join(map(regex.escape, longest_first)))
