"""Check special tokens and find them in text.

Stage: text -> *text between special tokens* -> pretokens. Not here: their ids.
"""

from collections.abc import Iterable, Mapping

import regex

from bpe.messages.arguments import require_all, require_iterable
from bpe.messages.excerpts import excerpt


def check_special_tokens(special_tokens: Iterable[str]) -> tuple[str, ...]:
    """Return the special tokens as a tuple after checking them.

    Raises:
        TypeError: not iterable.
        ValueError: a single string instead of several, or a special token that is empty,
            repeated, contains a lone surrogate, or is one byte long and so already a token.

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
        shown = excerpt(special)
        if not isinstance(special, str) or not special:
            raise ValueError(f"special token {shown} is not text; pass non-empty strings")
        if special in seen:
            raise ValueError(f"special token {shown} is listed twice; list it once")
        seen.add(special)
        if special.isascii() and len(special) == 1:
            raise ValueError(f"special token {shown} is a single byte; choose a longer one")
        if any(0xD800 <= ord(character) < 0xE000 for character in special):
            raise ValueError(f"special token {shown} contains a lone surrogate; remove it")
    return checked


def append_missing(tokens: Mapping[int, bytes], special_tokens: Iterable[str]) -> dict[int, bytes]:
    """Return the tokens by id; special tokens that they lack get ids after the highest.

    >>> append_missing({0: b"<a>", 5: b"b"}, ["<a>", "<c>"])
    {0: b'<a>', 5: b'b', 6: b'<c>'}
    """
    require_all(tokens, int, name="an id", needed="a whole number")
    require_all(tokens.values(), bytes, name="a token", needed="bytes")
    present, next_id = set(tokens.values()), max(tokens, default=-1) + 1
    missing = [token for token in map(str.encode, special_tokens) if token not in present]
    return {**tokens, **dict(enumerate(missing, start=next_id))}


def compile_special_tokens(special_tokens: Iterable[str]) -> "regex.Pattern[str] | None":
    """Compile a pattern that finds special tokens, longest first; None if there are none."""
    longest_first = sorted(special_tokens, key=len, reverse=True)
    if not longest_first:
        return None
    return regex.compile("|".join(map(regex.escape, longest_first)))
