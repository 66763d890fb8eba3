"""Check the types and ranges of configuration fields, and report them by option name.

Stage: under every section of a run's configuration. Not here: what the sections mean.
"""

import dataclasses
import math
import types
import typing
from pathlib import Path

SMALLEST, LARGEST = 1e-30, 1e30
"""Factors that usually keep a float32 weight finite and nonzero."""
_MAX_INT_BITS = 63  # of integers in TOML, numpy and torch
_POSITIVE = "(0, inf)"


def option_name(section: str, field: str) -> str:
    """Return a field's name on the command line.

    >>> option_name("schedule", "warmup_steps"), option_name("", "seed")
    ('schedule.warmup-steps', 'seed')
    """
    name = field.replace("_", "-")
    return f"{section}.{name}" if section else name


def require_kinds(section: str, config: object) -> None:
    """Refuse values of the wrong type, and text that no file can hold.

    Raises:
        ValueError: one is found; the message names its option.
    """
    for spec in dataclasses.fields(config):  # type: ignore[arg-type]
        value, option = getattr(config, spec.name), option_name(section, spec.name)
        if not is_of_kind(value, spec.type):
            raise ValueError(f"{option} is {value!r:.200}, but must be {describe_kind(spec.type)}")
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, str | Path):
                _require_text(option, str(item))
            if isinstance(item, Path) and "\0" in str(item):
                raise ValueError(
                    f"{option} is {str(item)!r:.200}, but no path holds a NUL; remove it"
                )
        if value == "none" and optional_kind(spec.type) is not None:
            raise ValueError(f'{option} is "none", which means off in files; choose another')


def _require_text(option: str, text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{option} is {text!r:.200}, which is not UTF-8 (at character {error.start}); use "
            "text or a name that is"
        ) from None


def require_range(section: str, config: object, interval: str, *names: str) -> None:
    """Refuse fields of a section outside an interval, such as "(0, 1]"; None is off.

    Raises:
        ValueError: one is outside.
    """
    low, high = map(float, interval[1:-1].split(","))
    for name in names:
        value = getattr(config, name)
        is_border = (value == low and interval[0] == "[") or (value == high and interval[-1] == "]")
        if value is not None and not (low < value < high or is_border):
            needed = "positive and finite" if interval == _POSITIVE else f"in {interval}"
            raise ValueError(f"{option_name(section, name)} is {value}, but must be {needed}")


def require_positive(section: str, config: object, *names: str) -> None:
    """Refuse fields of a section that are not positive and finite; None is off.

    Raises:
        ValueError: one is not.
    """
    require_range(section, config, _POSITIVE, *names)


def require_multiplier(section: str, config: object, *names: str) -> None:
    """Refuse fields of a section that cannot scale float32 weights; None is off.

    Raises:
        ValueError: one is not positive and finite, or beyond float32.
    """
    require_positive(section, config, *names)
    require_range(section, config, f"[{SMALLEST:g}, {LARGEST:g}]", *names)


def is_number(value: object) -> typing.TypeGuard[int | float]:
    """Whether a value is a finite number; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_of_kind(value: object, kind: typing.Any) -> bool:
    """Whether a field of this type may hold the value; a bool is not an int, an int is a float.

    >>> is_of_kind(3, float), is_of_kind(True, int), is_of_kind(("a",), tuple[str, ...])
    (True, False, True)
    """
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return isinstance(value, typing.cast(type, kind))
    if origin is typing.Literal:
        return isinstance(value, str) and value in typing.get_args(kind)
    if origin is types.UnionType:
        return value is None or is_of_kind(value, optional_kind(kind))
    if origin is tuple:
        item = typing.get_args(kind)[0]
        return isinstance(value, tuple) and all(is_of_kind(one, item) for one in value)
    if kind is Path:
        return isinstance(value, Path)
    if kind is float and type(value) is int:
        return value.bit_length() < 1000
    if type(value) is int and kind is int:
        return value.bit_length() <= _MAX_INT_BITS
    return type(value) is kind


def describe_kind(kind: typing.Any) -> str:
    """Describe the values that a field of this type may hold."""
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(kind)))
    if origin is types.UnionType:
        return f'{describe_kind(optional_kind(kind))} or "none"'
    if origin is tuple:
        kind = typing.get_args(kind)[0]
        return "a list of paths" if kind is Path else f"a list, each {describe_kind(kind)}"
    names = {
        int: "an integer in (-2^63, 2^63)",
        float: "a number",
        bool: "true or false",
        str: "a string",
        Path: "a path",
    }
    return names.get(kind, f"a {getattr(kind, '__name__', kind)}")


def optional_kind(kind: typing.Any) -> typing.Any:
    """Return the X of `X | None`; None: the field cannot be off."""
    if typing.get_origin(kind) is not types.UnionType:
        return None
    return next(arg for arg in typing.get_args(kind) if arg is not type(None))
