"""Find what is not ordinary text: special tokens, lone surrogates, bytes that are not UTF-8.

Stage: text -> *ordinary stretches* -> pretokens -> ids. A special token is matched exactly as it is
spelled, before any pattern is applied; nothing merges across it. Not here: how the stretches are
encoded.
"""

import re
from collections.abc import Iterator, Mapping


class SpecialTokens:
    """Find special tokens: the leftmost first, and the longest of several at one place.

    >>> specials = SpecialTokens({"<a>": 0, "<a><b>": 1})
    >>> list(specials.cut("x<a><b>y<a>"))
    [('x', '<a><b>'), ('y', '<a>'), ('', None)]
    """

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = dict(ids)
        longest_first = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if self.ids else None
        self._max_held = max(map(len, self.ids), default=1) - 1
        self._prefixes = {token[:end] for token in self.ids for end in range(1, len(token))}

    def cut(self, text: str) -> Iterator[tuple[str, str | None]]:
        """Yield each stretch without special tokens and the special token that ends it.

        The last stretch, which may be empty, has None.
        """
        position = 0
        while (match := self.search(text, start=position)) is not None:
            yield text[position : match.start()], match.group()
            position = match.end()
        yield text[position:], None

    def search(self, text: str, *, start: int) -> re.Match[str] | None:
        """Return the first special token at or after `start`, if there is one."""
        return None if self._pattern is None else self._pattern.search(text, start)

    def require_none(self, text: str, *, offset: int = 0) -> None:
        """Refuse text that contains a special token; it begins at `offset` of the whole text.

        Raises:
            ValueError: it does; names the first one and its index.
        """
        if match := self.search(text, start=0):
            raise ValueError(
                f"the text contains the special token {match.group()!r} at index "
                f"{offset + match.start()}; "
                'remove it, or pass special="split" or special="text" to define its meaning'
            )

    def undecided_from(self, text: str, *, start: int) -> int:
        """Return from where text to come may change which special tokens `text` contains.

        Returns:
            The first place where the rest of `text` could begin a special token, possibly a longer
            one than `text` already contains there; the end if there is no such place.

        >>> SpecialTokens({"<a>": 0, "<a><b>": 1}).undecided_from("<a>x<a>", start=0)
        4
        """
        for place in range(max(start, len(text) - self._max_held), len(text)):
            if text[place:] in self._prefixes:
                return place
        return len(text)


def require_no_surrogates(text: str, *, offset: int = 0) -> None:
    """Refuse a `str` that is not text: UTF-8 has no bytes for half of a surrogate pair.

    `offset` is the index of the first character of `text` in the whole text.

    Raises:
        ValueError: a lone surrogate; names its index.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        index = error.start
        raise ValueError(
            f"the text contains a lone surrogate (U+{ord(text[index]):04X}) at index "
            f"{offset + index}, which UTF-8 cannot encode; replace it, or pass the original bytes"
        ) from None


def cut_at_escaped_bytes(text: str) -> Iterator[tuple[str, bytes]]:
    r"""Yield stretches of text with surrogate escapes, and the bytes escaped after each.

    >>> list(cut_at_escaped_bytes(b"a\xff\xfeb".decode(errors="surrogateescape")))
    [('a', b'\xff\xfe'), ('b', b'')]
    """
    position = 0
    for match in _ESCAPED.finditer(text):
        yield text[position : match.start()], match.group().encode(errors="surrogateescape")
        position = match.end()
    yield text[position:], b""


_ESCAPED = re.compile("[\udc80-\udcff]+")
