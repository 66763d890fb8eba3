"""Parse command-line words that several subjects share.

Stage: word -> *value*, for argparse's `type=`.
"""

import argparse
import os
from collections.abc import Callable, Collection
from pathlib import Path


def add_shared_options(parser: argparse.ArgumentParser, *, json: str, cache: str) -> None:
    """Declare `--json`, `--cache-dir` and `--patience`, with the help of the first two."""
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"write all {json} to FILE")
    parser.add_argument("--cache-dir", type=cache_folder, default="", help=f"folder for {cache}")
    parser.add_argument(
        "--patience", type=float, default=10.0, metavar="SECONDS", help="wait for idle CPUs (10)"
    )


def positive(text: str) -> int:
    """Return a whole number of at least 1.

    >>> positive("3")
    3
    """
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; must be at least 1")
    return number


def thread_counts(text: str) -> tuple[int, ...]:
    """Return numbers of threads in ascending order.

    >>> thread_counts("2,1,2")
    (1, 2)
    """
    counts = tuple(sorted({whole(word) for word in text.split(",")}))
    if counts[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; name numbers of threads, 1 or more")
    return counts


def numbers(text: str) -> tuple[float, ...]:
    """Return comma-separated numbers.

    >>> numbers("0,0.7,1")
    (0.0, 0.7, 1.0)
    """
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        message = f"{text!r}; name numbers, with commas between them"
        raise argparse.ArgumentTypeError(message) from error


def names_of(known: Collection[str], what: str) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of comma-separated names, all of which must be known.

    >>> names_of({"encode", "decode"}, "contest")("decode")
    ('decode',)

    Raises:
        argparse.ArgumentTypeError: (raised by the parser) a name is not known.
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
    """Return a folder that persists between runs; by default, in the user's cache.

    >>> cache_folder("kept").name
    'kept'

    Raises:
        argparse.ArgumentTypeError: no folder is named, and this user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(text or (Path(base) if base else Path.home() / ".cache") / "bench")
    except RuntimeError as error:
        message = "this user has no home folder; name a folder, or set XDG_CACHE_HOME"
        raise argparse.ArgumentTypeError(message) from error


def whole(text: str) -> int:
    """Return a whole number, or raise an error that asks for one."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}; must be a whole number") from error
