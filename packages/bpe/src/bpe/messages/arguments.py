"""Is an argument of the kind that a function works with?

Stage: none; public functions begin with this, because Python would take much of it: a string is a
sequence of strings, and bytes are numbers. Not here: which values make sense.
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
    """Insist on an instance of a class.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, kind):
        raise wrong_kind(value, name=name, needed=needed)


def require_all(values: Iterable[Any], kind: type, *, name: str, needed: str) -> None:
    """Insist on the very class for each of many, quickly.

    Raises:
        TypeError: one of them has another.
    """
    if not {*map(type, values)} <= {kind}:
        wrong = next(value for value in values if type(value) is not kind)
        raise wrong_kind(wrong, name=name, needed=needed)


def require_iterable(value: Any, *, name: str, needed: str) -> None:
    """Insist on several things, where a string or bytes would be taken for its characters.

    Raises:
        TypeError: it is one thing.
    """
    if isinstance(value, str | bytes | bytearray) or not isinstance(value, Iterable):
        raise wrong_kind(value, name=name, needed=needed)


def require_whole_number(value: Any, *, name: str, needed: str = "a whole number") -> None:
    """Insist on an int, or what numpy has for one.

    Raises:
        TypeError: it is none; True and False count as none.
    """
    try:
        index(value)
    except TypeError:
        raise wrong_kind(value, name=name, needed=needed) from None
    if isinstance(value, bool):
        raise wrong_kind(value, name=name, needed=needed)


def as_path(value: Any, *, name: str) -> Path:
    """Return a path for a str or a path.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise wrong_kind(value, name=name, needed="a path as str or pathlib.Path")
    return Path(value)


def as_paths(value: Any, *, name: str) -> list[Path]:
    """Return the paths of one file, or of several.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(value, str | os.PathLike):
        return [as_path(value, name=name)]
    needed = "a path as str or pathlib.Path, or a list of them"
    if hasattr(value, "read"):
        needed = "the path of a file, not an open one"
    if hasattr(value, "read") or isinstance(value, bytes) or not isinstance(value, Iterable):
        raise wrong_kind(value, name=name, needed=needed)
    return [as_path(one, name=f"{name}[{place}]") for place, one in enumerate(value)]
