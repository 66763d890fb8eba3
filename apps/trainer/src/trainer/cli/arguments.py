"""Read the words of a command line before any parser does.

Stage: argv -> *words that parsers understand* -> `command_line.py` and its kin. Whatever follows an
option that takes text or a path is its value, though it begin with a dash; an option that does not
exist is refused with the nearest one. Not here: what options mean.
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
        ValueError: a word that is not UTF-8, or an unknown option; names the nearest, however far.
    """
    words = join_values(
        argv,
        options=text_options(cls),
        paths=path_options(cls),
        lists=path_list_options(cls),
    )
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


def join_values(
    argv: Sequence[str],
    *,
    options: Collection[str],
    paths: Collection[str] = (),
    lists: Collection[str] = (),
) -> list[str]:
    """Join options and their values, so that no value is taken for an option.

    Args:
        argv: as the shell gives it.
        options: take one value, any text or path; text is UTF-8 whatever the locale.
        paths: those of them that take a path, which is kept as the locale spells it.
        lists: take paths up to the next option; one that begins with a dash is spelled ./-NAME.

    Raises:
        ValueError: a word that is not UTF-8.

    >>> join_values(["x", "--prompt", "---", "--top-k", "5"], options=["--prompt"])
    ['x', '--prompt=---', '--top-k', '5']
    """
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
    """Return the options that take one value which is text or a path; repeated ones too."""
    kinds = (str, str | None, tuple[str, ...])
    return {option for option, kind in _options_and_kinds(cls) if kind in kinds} | path_options(cls)


def path_options(cls: type) -> set[str]:
    """Return the options that take one path."""
    return {option for option, kind in _options_and_kinds(cls) if kind in (Path, Path | None)}


def path_list_options(cls: type) -> set[str]:
    """Return the options that take any number of paths."""
    return {option for option, kind in _options_and_kinds(cls) if kind == tuple[Path, ...]}


def with_python_booleans(argv: Sequence[str], cls: type) -> Iterator[str]:
    """Spell `true` and `false` behind a switch as the parser wants them; TOML's way is ours."""
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
    """Yield what the fields of a dataclass are called on the command line."""
    for option, kind in _options_and_kinds(cls):
        yield option
        if kind is bool:
            yield _negated(option)


def _is_dashed(word: str) -> bool:
    """Whether a word may be a path that looks like a short option; -h is help."""
    return word.startswith("-") and not word.startswith("--") and word not in ("-", "-h")


def _decoded(value: str) -> str:
    """Return the text that a value's bytes spell in UTF-8, whatever encoding the locale names.

    Under LC_ALL=C, Python passes bytes beyond ASCII on as lone surrogates.
    """
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
