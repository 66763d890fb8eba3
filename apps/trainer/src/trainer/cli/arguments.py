"""Prepare the words of a command line for the parsers.

Stage: argv -> *words that parsers understand* -> `*_arguments.py`. The word after an option that
takes text or a path is its value, even with a leading dash; an unknown option is refused with the
nearest known one. Not here: what options mean.
"""

import dataclasses
import os
import typing
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from trainer.config.former_names import require_current_name
from trainer.nearest_names import nearest_names

_MAX_SHOWN = 4


def read_arguments(argv: Sequence[str], cls: type) -> list[str]:
    """Return the words of a command line whose options are the fields of `cls`.

    Raises:
        ValueError: a word that is not UTF-8, or an unknown option; the message names the nearest.
    """
    words = join_values(argv, cls)
    known = ["--help", *_options(cls)]
    for word in words:
        given = word.split("=")[0]
        option = given.replace("_", "-")
        if option.startswith("--") and option not in known:
            require_current_name(option)
            near = nearest_names(option, known)
            raise ValueError(
                f"unknown option {given}; did you mean {' or '.join(near[:_MAX_SHOWN])}? see --help"
            )
    return words


def join_values(argv: Sequence[str], cls: type, *, also: Collection[str] = ()) -> list[str]:
    """Join options and their values, so that no value is taken for an option.

    Text is UTF-8 in any locale; a path keeps the locale's bytes. In a list of paths, one with a
    leading dash becomes ./-NAME.

    Args:
        argv: the words from the shell.
        cls: its fields are the options.
        also: more options that take text.

    Raises:
        ValueError: a word that is not UTF-8.

    >>> options = dataclasses.make_dataclass("Options", [("prompt", str), ("top_k", int)])
    >>> join_values(["x", "--prompt", "---", "--top-k", "5"], options)
    ['x', '--prompt=---', '--top-k', '5']
    """
    options, paths, lists = text_options(cls).union(also), path_options(cls), path_list_options(cls)
    words, is_in_list, rest = [], False, iter(argv)
    for word in rest:
        option, equals, value = word.partition("=")
        name = option.replace("_", "-")
        if name in options and (equals or (value := next(rest, None)) is not None):
            words.append(f"{option}={_decoded(value) if name not in paths else value}")
        elif is_in_list and _is_dashed(word):
            words.append(f"./{word}")
        else:
            words.append(word)
        if word.startswith("--"):
            is_in_list = name in lists
    for word in words:
        _require_utf8(word)
    return words


def text_options(cls: type) -> set[str]:
    """Return the options that take text or one path, including repeatable ones."""
    kinds = (str, str | None, tuple[str, ...])
    return {option for option, kind in _options_and_kinds(cls) if kind in kinds} | path_options(cls)


def path_options(cls: type) -> set[str]:
    """Return the options that take one path."""
    return {option for option, kind in _options_and_kinds(cls) if kind in (Path, Path | None)}


def path_list_options(cls: type) -> set[str]:
    """Return the options that take any number of paths."""
    return {option for option, kind in _options_and_kinds(cls) if kind == tuple[Path, ...]}


def with_python_booleans(argv: Sequence[str], cls: type) -> Iterator[str]:
    """Capitalize `true` and `false`, which we spell as in TOML, for the parser."""
    known = set(_options(cls))
    switches = {name for name in known if _negated(name) in known}
    for previous, word in zip(("", *argv), argv, strict=False):
        is_value = previous.replace("_", "-") in switches and word in ("true", "false")
        yield word.capitalize() if is_value else word


def _negated(option: str) -> str:
    section, _, name = option.rpartition(".")
    return f"{section}.no-{name}" if section else f"--no-{name.removeprefix('--')}"


def _options_and_kinds(cls: type, prefix: str = "") -> Iterator[tuple[str, object]]:
    kinds = typing.get_type_hints(cls)
    for spec in dataclasses.fields(cls):
        option, kind = prefix + spec.name.replace("_", "-"), kinds[spec.name]
        if dataclasses.is_dataclass(kind):
            yield from _options_and_kinds(typing.cast(type, kind), f"{option}.")
        else:
            yield f"--{option}", kind


def _options(cls: type) -> Iterator[str]:
    """Yield the options of a dataclass's fields, and their negations."""
    for option, kind in _options_and_kinds(cls):
        yield option
        if kind is bool:
            yield _negated(option)


def _is_dashed(word: str) -> bool:
    """Whether a word may be a path that looks like a short option; -h is not."""
    return word.startswith("-") and not word.startswith("--") and word not in ("-", "-h")


def _decoded(value: str) -> str:
    """Decode a value's bytes as UTF-8: under LC_ALL=C, Python makes them lone surrogates."""
    try:
        return os.fsencode(value).decode("utf-8")
    except UnicodeError:
        return value


def _require_utf8(word: str) -> None:
    try:
        word.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(
            f"the argument {word!r:.200} is not UTF-8; use text or a file name that is"
        ) from None
