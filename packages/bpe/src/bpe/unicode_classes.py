r"""Look up which code points are letters, digits and marks.

Stage: text -> *pretokens*. Unicode assigns new letters every year and every regex engine has the
tables of its release, so `\p{L}` alone would let two installations split one text differently.
The classes here follow one version: the newest on which tiktoken and HF tokenizers agree. Not
here: white space, which has not changed since Unicode 6.3.
"""

import json
import re
from functools import cache
from importlib.resources import files

import regex

UNICODE_VERSION = "16.0.0"
"""The Unicode version whose character classes split text; saved with every vocabulary."""

_UNIONS = {"L": ("Lu", "Ll", "Lt", "Lm", "Lo")}
_PROPERTY = re.compile(r"\\[pP]\{\^?(\w+)\}")
# Escapes that distinguish code points by something other than the classes or ASCII: leftovers of
# \p{...}, words, word borders, named characters, grapheme clusters, numeric escapes.
_OTHER_TESTS = re.compile(r"\\[pPwWbBmMdDNXxuUhHRL]|\[:|[^\x00-\x7f]")
_NO_CLASS = 0x10FFFF  # a noncharacter: never assigned, so in no class in any version


def class_ranges(name: str) -> tuple[tuple[int, int], ...]:
    """Return the code points of a class (Lu Ll Lt Lm Lo L M N) as inclusive ranges, ascending.

    >>> class_ranges("Lt")[0]
    (453, 453)
    """
    if name in _UNIONS:
        return tuple(sorted(r for part in _UNIONS[name] for r in class_ranges(part)))
    return _load()[name]


@cache
def class_members(name: str) -> frozenset[int]:
    """Return the code points of one class as a set."""
    return frozenset(c for low, high in class_ranges(name) for c in range(low, high + 1))


@cache
def stand_ins(pattern: str) -> dict[int, int]:
    """Map code points that the installed `regex` classes differently to some it classes as we do.

    With each code point replaced by its stand-in, `regex` finds the borders that the tables here
    require. That is exact as long as the pattern distinguishes code points only by the classes,
    white space and ASCII. Any other pattern (words, scripts, non-ASCII letters) follows the
    installed `regex`, and the map is empty.

    >>> stand_ins(r"[a-z]+")
    {}
    """
    classes = set(_PROPERTY.findall(pattern))
    if not classes <= {*_load(), *_UNIONS}:
        return {}
    if _OTHER_TESTS.search(_PROPERTY.sub("", pattern)):
        return {}
    differing = frozenset().union(*(_differing(name) for name in classes))
    return {code_point: _stand_in(code_point) for code_point in sorted(differing)}


@cache
def _differing(name: str) -> frozenset[int]:
    """Return the code points that the installed `regex` and our table class differently."""
    runs = regex.findall(rf"\p{{{name}}}+", _every_code_point())
    return class_members(name) ^ set(map(ord, "".join(runs)))


@cache
def _every_code_point() -> str:
    return "".join(map(chr, range(0x110000)))


@cache
def _stand_in(code_point: int) -> int:
    for name in _load():
        if code_point in class_members(name):
            return max(class_members(name) - _differing(name))
    return _NO_CLASS


@cache
def _load() -> dict[str, tuple[tuple[int, int], ...]]:
    table = json.loads(files("bpe").joinpath("unicode_classes.json").read_text("ascii"))
    assert table["unicode_version"] == UNICODE_VERSION, table["unicode_version"]
    return {
        name: tuple(_parse_range(item) for item in spelled.split())
        for name, spelled in table["classes"].items()
    }


def _parse_range(spelled: str) -> tuple[int, int]:
    low, _, high = spelled.partition("-")
    return int(low, 16), int(high or low, 16)
