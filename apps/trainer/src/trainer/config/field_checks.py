"""Hold the fields of a configuration to their types and ranges, by the names of their options.

Stage: under every section of a run's configuration. Not here: what a section means (`config.py`).
"""

import dataclasses
import math
import types
import typing
from pathlib import Path

SMALLEST, LARGEST = 1e-30, 1e30
"""What float32 can multiply a weight by, and usually still hold the result."""
_MAX_INT_BITS = 63  # as TOML, numpy and torch have them


def option_name(section: str, field: str) -> str:
    """Return what the command line calls a field.

    >>> option_name("schedule", "warmup_steps"), option_name("", "seed")
    ('schedule.warmup-steps', 'seed')
    """
    name = field.replace("_", "-")
    return f"{section}.{name}" if section else name


def require_kinds(section: str, config: object) -> None:
    """Refuse values of another type than their field's, and text that no file can hold.

    Raises:
        ValueError: there is one; the message names its option.
    """
    for spec in dataclasses.fields(config):  # type: ignore[arg-type]
        value, option = getattr(config, spec.name), option_name(section, spec.name)
        if not is_of_kind(value, spec.type):
            raise ValueError(f"{option} is {value!r:.200}, but must be {describe_kind(spec.type)}")
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, str | Path):
                require_text(option, str(item))
            if isinstance(item, Path) and "\0" in str(item):
                raise ValueError(f"{option} is {str(item)!r:.200}, but no file name has a NUL")
        if value == "none" and optional_kind(spec.type) is not None:
            raise ValueError(f'{option} is "none", which is how files spell off; name another')


def require_text(option: str, text: str) -> None:
    """Refuse what UTF-8 cannot spell, such as a file name of other bytes.

    Raises:
        ValueError: the message names the option.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{option} is {text!r:.200}, which is not UTF-8 (at character {error.start}); use a "
            "name or text that is"
        ) from None


def require_positive(section: str, config: object, *names: str) -> None:
    """Refuse fields of a section that are not positive and finite, by name.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 < value < math.inf:
            raise ValueError(
                f"{option_name(section, name)} is {value}, but must be positive and finite"
            )


def require_multiplier(section: str, config: object, *names: str) -> None:
    """Refuse fields of a section that float32 weights cannot be multiplied by; None is off.

    Raises:
        ValueError: one is not positive and finite, or out of float32's reach.
    """
    given = [name for name in names if getattr(config, name) is not None]
    require_positive(section, config, *given)
    for name in given:
        value = getattr(config, name)
        if not SMALLEST <= value <= LARGEST:
            raise ValueError(
                f"{option_name(section, name)} is {value}, but float32 needs it in "
                f"[{SMALLEST:g}, {LARGEST:g}]"
            )


def require_share(section: str, config: object, *names: str) -> None:
    """Refuse fields of a section that are not in [0, 1), by name.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise ValueError(f"{option_name(section, name)} is {value}, but must be in [0, 1)")


def is_number(value: object) -> typing.TypeGuard[int | float]:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_of_kind(value: object, kind: typing.Any) -> bool:
    """Whether a field of this type may hold the value; bool is not an int, an int is a float.

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
    """Return what a field of this type may hold, in words."""
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
    """Return the type inside `X | None`; None: the field cannot be off."""
    if typing.get_origin(kind) is not types.UnionType:
        return None
    return next(arg for arg in typing.get_args(kind) if arg is not type(None))
