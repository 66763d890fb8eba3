"""Split text into pretokens by a pattern.

Stage: text -> *pretokens* -> merges -> ids. A pretoken is the unit inside which bytes may merge;
training and encoding both split with this class. Not here: special tokens, which are cut out
first (`special_tokens`).
"""

from collections.abc import Iterator

import regex

from bpe.messages.arguments import require
from bpe.patterns import PATTERNS, resolve_pattern
from bpe.unicode_classes import stand_ins


class Pretokenizer:
    r"""Split text into pretokens that, joined, are the text again.

    A pretoken is a match of the pattern, as in GPT-2 and tiktoken. Stretches that a custom pattern
    does not match become one pretoken each (as HF's `Split` does; tiktoken drops them), so no byte
    is lost; empty matches are skipped. The classes `\p{L}`, `\p{N}`, `\p{M}` and the kinds of
    letters follow `UNICODE_VERSION`, whatever version the installed `regex` knows.

    Args:
        pattern: a name in `PATTERNS`, or regex source.

    Raises:
        ValueError: the pattern is not a valid regular expression.

    >>> Pretokenizer("gpt2").split("We're  here")
    ['We', "'re", ' ', ' here']
    >>> Pretokenizer("[0-9]+").split("ab12c")
    ['ab', '12', 'c']
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = resolve_pattern(pattern)
        self._regex = regex.compile(self.pattern)
        self._matches_everything = self.pattern in PATTERNS.values()

    def __reduce__(self) -> tuple[type["Pretokenizer"], tuple[str]]:
        return Pretokenizer, (self.pattern,)

    def split(self, text: str) -> list[str]:
        """Return the pretokens of `text` in order; none is empty."""
        require(text, str, name="text", needed="a str")
        if self._matches_everything and self._as_classed_by_regex(text) is text:
            return self._regex.findall(text)
        return [text[start:end] for start, end in self._spans(text)]

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the pretokens of `text` lazily, as start and end indices in code points."""
        require(text, str, name="text", needed="a str")
        return self._spans(text)

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        done = 0
        for match in self._regex.finditer(self._as_classed_by_regex(text)):
            start, end = match.span()
            if start == end:
                continue
            if done < start:
                yield done, start
            yield start, end
            done = end
        if done < len(text):
            yield done, len(text)

    def _as_classed_by_regex(self, text: str) -> str:
        """Replace characters that the installed `regex` would class differently; usually none."""
        if text.isascii():
            return text
        replacements = stand_ins(self.pattern)
        if replacements.keys().isdisjoint(map(ord, set(text))):
            return text
        return text.translate(replacements)
