"""Check that an argument has the type that a function works with.

Stage: none; public functions begin with this, because Python would accept too much: a string is a
sequence of strings, and bytes are numbers. Not here: which values are valid.
"""

import os
from collections.abc import Iterable
from operator import index
from pathlib import Path
from typing import Any


def wrong_kind(value: object, *, name: str, needed: str) -> TypeError:
    """Return the error that names an argument, what it is, and what to pass instead.

    >>> wrong_kind(5, name="text", needed="a str")
    TypeError('text is the int 5; pass a str')
    """
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return TypeError(f"{name} is the {type(value).__name__} {shown}; pass {needed}")


def require(value: Any, kind: type | tuple[type, ...], *, name: str, needed: str) -> None:
    """Require an instance of a class."""
    if not isinstance(value, kind):
        raise wrong_kind(value, name=name, needed=needed)


def require_all(values: Iterable[Any], kind: type, *, name: str, needed: str) -> None:
    """Require exactly this class for each of many values, quickly."""
    if not {*map(type, values)} <= {kind}:
        wrong = next(value for value in values if type(value) is not kind)
        raise wrong_kind(wrong, name=name, needed=needed)


def require_iterable(value: Any, *, name: str, needed: str) -> None:
    """Require several values; a string or bytes would be read as its characters."""
    if isinstance(value, str | bytes | bytearray) or not isinstance(value, Iterable):
        raise wrong_kind(value, name=name, needed=needed)


def require_whole_number(value: Any, *, name: str) -> None:
    """Require an int or a numpy integer."""
    error = wrong_kind(value, name=name, needed="a whole number")
    if isinstance(value, bool):
        raise error
    try:
        index(value)
    except TypeError:
        raise error from None


def as_path(value: Any, *, name: str) -> Path:
    """Return a path for a str or a path."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise wrong_kind(value, name=name, needed="a path as str or pathlib.Path")
    return Path(value)


def as_paths(value: Any, *, name: str) -> list[Path]:
    """Return the paths of one file, or of several."""
    if isinstance(value, str | os.PathLike):
        return [as_path(value, name=name)]
    needed = "a path as str or pathlib.Path, or a list of them"
    if hasattr(value, "read"):
        needed = "the path of a file, not an open one"
    if hasattr(value, "read") or isinstance(value, bytes) or not isinstance(value, Iterable):
        raise wrong_kind(value, name=name, needed=needed)
    return [as_path(one, name=f"{name}[{place}]") for place, one in enumerate(value)]
