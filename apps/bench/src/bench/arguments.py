"""What does a word of the command line mean, where several subjects ask?

Stage: word -> *value*, for `type=` of argparse.
"""

import argparse
import os
from collections.abc import Callable, Collection
from pathlib import Path


def positive(text: str) -> int:
    """Return a whole number of at least 1.

    >>> positive("3")
    3

    Raises:
        argparse.ArgumentTypeError: not a whole number, or below 1.
    """
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; must be at least 1")
    return number


def thread_counts(text: str) -> tuple[int, ...]:
    """Return numbers of threads, the fewest first.

    >>> thread_counts("2,1,2")
    (1, 2)

    Raises:
        argparse.ArgumentTypeError: one is not a whole number, or below 1.
    """
    counts = tuple(sorted({whole(word) for word in text.split(",")}))
    if counts[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; name numbers of threads, 1 or more")
    return counts


def numbers(text: str) -> tuple[float, ...]:
    """Return numbers that commas part.

    >>> numbers("0,0.7,1")
    (0.0, 0.7, 1.0)

    Raises:
        argparse.ArgumentTypeError: one is no number.
    """
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        message = f"{text!r}; name numbers, with commas between them"
        raise argparse.ArgumentTypeError(message) from error


def names_of(known: Collection[str], what: str) -> Callable[[str], tuple[str, ...]]:
    """Return what reads names that commas part, each of which must be known.

    >>> names_of({"encode", "decode"}, "contest")("decode")
    ('decode',)

    Raises:
        argparse.ArgumentTypeError: (by what is returned) a name is not known.
    """

    def read(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(
                f"no {what} {unknown[0]!r}; there are {', '.join(known)}"
            )
        return names

    return read


def cache_folder(text: str) -> Path:
    """Return a folder to keep things in from run to run; the user's own where none is named.

    >>> cache_folder("kept").name
    'kept'

    Raises:
        argparse.ArgumentTypeError: none is named, and this user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(text or (Path(base) if base else Path.home() / ".cache") / "bench")
    except RuntimeError as error:
        message = "this user has no home folder; name a folder, or set XDG_CACHE_HOME"
        raise argparse.ArgumentTypeError(message) from error


def whole(text: str) -> int:
    """Return a whole number, or say that it must be one."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}; must be a whole number") from error
