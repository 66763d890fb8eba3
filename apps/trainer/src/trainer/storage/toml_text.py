"""Parse untrusted TOML within limits, and find the documents that ship with the trainer.

Stage: text of a configuration -> *tables*. The standard library's parser keeps every prefix of a
dotted key: 40 kB of `a.a.a...=1` take 1.6 GB. Not here: what the tables mean.
"""

import re
import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

MAX_CHARACTERS = 1 << 18
"""A run's configuration has about three thousand."""
MAX_PARTS = 8
"""Most parts of a dotted key; a run's configuration has three."""

_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
# A key begins a line or follows a bracket or comma; possessive quantifiers never backtrack.
_LONG_KEY = re.compile(rf"(?<![^\s\[{{,])(?:{_PART}[ \t]*+\.[ \t]*+){{{MAX_PARTS}}}")


def parse_toml(text: str, *, origin: str) -> dict[str, Any]:
    r"""Return the tables of a TOML document.

    Args:
        text: the document.
        origin: its name in error messages.

    Raises:
        ValueError: not TOML, or longer or more deeply nested than any configuration.

    >>> parse_toml("[model]\nd_model = 8", origin="here")
    {'model': {'d_model': 8}}
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"{origin} has {len(text):,} characters, but a configuration has at most "
            f"{MAX_CHARACTERS:,}; shorten it"
        )
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(
            f"{origin}, line {line}: {found[0]!r:.40} has more than {MAX_PARTS} parts between "
            "dots, but a key has at most that many; shorten it"
        )
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(f"{origin} is not valid TOML: it is nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits, too
        raise ValueError(f"{origin} is not valid TOML: {error}") from error


def shipped_documents(folder: str) -> dict[str, Traversable]:
    """Return the TOML files in a folder of the package by name, without their suffix."""
    found = files("trainer").joinpath(folder).iterdir()
    suffix = ".toml"
    named = {one.name.removesuffix(suffix): one for one in found if one.name.endswith(suffix)}
    return dict(sorted(named.items()))
