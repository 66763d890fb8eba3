"""Quote tokens and texts in messages without flooding the terminal.

Stage: tokens, texts -> *short quotations* -> messages. Not here: results, which are never
shortened.
"""

from collections.abc import Collection
from itertools import islice

_MOST = 60
"""Longest text or token that is quoted whole, in characters or bytes."""
_MOST_VALUES = 20


def excerpt(value: object) -> str:
    """Quote a value as Python does; only the two ends of a long text or token.

    >>> excerpt(b"the"), excerpt("a" * 1000)[:5], len(excerpt("a" * 1000))
    ("b'the'", "'aaaa", 65)
    """
    if not isinstance(value, str | bytes) or len(value) <= _MOST:
        return repr(value)
    half = _MOST // 2
    if isinstance(value, str):
        return repr(f"{value[:half]}...{value[-half:]}")
    return repr(b"...".join([value[:half], value[-half:]]))


def excerpts(values: Collection[str | bytes]) -> str:
    """Quote the first few values, and count the rest.

    >>> excerpts(["<a>", "<b>"]), excerpts(["<a>"] * 2000)[-16:]
    ("['<a>', '<b>']", ' and 1,980 more]')
    """
    shown = [excerpt(value) for value in islice(values, _MOST_VALUES)]
    if len(values) > _MOST_VALUES:
        shown.append(f"and {len(values) - _MOST_VALUES:,} more")
    return f"[{', '.join(shown)}]"
