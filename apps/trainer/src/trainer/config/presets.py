"""Read and write run configurations as TOML; find the presets that ship with the trainer.

Stage: *TOML* -> RunConfig -> everything else. The error for an unknown key names the file, the key
and the nearest valid one. TOML has no null, so an optional field that is off is written "none". Not
here: the command line (`cli/run_arguments.py`).
"""

import dataclasses
import operator
import tomllib
import typing
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path

from trainer.config.field_checks import describe_kind, is_of_kind, optional_kind
from trainer.config.former_names import rename_former_keys, require_current_name
from trainer.config.run_config import RunConfig
from trainer.nearest_names import hint
from trainer.storage.toml_text import parse_toml, shipped_documents

DEFAULT_PRESET = "quickstart"
_FOLDER = "config/presets"


def preset_names() -> list[str]:
    """Return the names of the presets, the default one first.

    >>> preset_names()[0]
    'quickstart'
    """
    return sorted(shipped_documents(_FOLDER), key=lambda name: name != DEFAULT_PRESET)


def load_preset(name: str) -> RunConfig:
    """Return the configuration of a preset.

    Raises:
        ValueError: there is no such preset; the message names the nearest.

    >>> load_preset("tinystories").total_tokens
    327680000
    """
    names = preset_names()
    if name not in names:
        raise ValueError(
            f"unknown preset {name!r}{hint(name, names)} (presets: {', '.join(names)})"
        )
    text = shipped_documents(_FOLDER)[name].read_text(encoding="utf-8")
    return config_from_toml(text, origin=f"{name}.toml", preset=name)


def load_config(path: Path) -> RunConfig:
    """Return the configuration in a run directory's `config.toml`.

    Raises:
        ValueError: the file is not TOML, or does not describe a run.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}; restore it") from error
    return config_from_toml(text, origin=str(path))


def config_from_toml(text: str, *, origin: str, preset: str | None = None) -> RunConfig:
    """Build a `RunConfig` from TOML.

    Args:
        text: the TOML document, one table per section.
        origin: its name in error messages.
        preset: the preset's name, if the document does not hold it; None: the document was saved
            with a run, perhaps by an earlier version, whose names are translated.

    Raises:
        ValueError: not TOML, an unknown or missing key, a value of the wrong type or out of range.
    """
    document = parse_toml(text, origin=origin)
    if preset is not None:
        document = {"preset": preset, **document}
    else:
        rename_former_keys(document)
    return _build_run(document, origin=origin)


def with_values(config: RunConfig, values: Mapping[str, object], *, origin: str) -> RunConfig:
    """Return a configuration with some fields changed.

    Args:
        config: the base.
        values: `section.field`, or a field outside all sections, spelled with - or _, to its value
            as TOML holds it.
        origin: their source in error messages.

    Raises:
        ValueError: an unknown field, a value of the wrong type or out of range.

    >>> base = load_preset("quickstart")
    >>> with_values(base, {"training.batch-size": 3}, origin="here").training.batch_size
    3
    """
    document = tomllib.loads(config_to_toml(config))
    known = flat_settings(config)
    for name, value in values.items():
        if name.replace("_", "-") not in known:
            require_current_name(name, origin=f"{origin}: ")
            raise ValueError(f"{origin}: unknown field {name!r}{hint(name, known)}")
        *sections, last = name.replace("-", "_").split(".")
        reduce(operator.getitem, sections, document)[last] = value
    return _build_run(document, origin=origin)


def config_to_toml(config: RunConfig) -> str:
    """Return the TOML document that `config_from_toml` reads back."""
    return "\n".join(_toml_lines(config, "")).lstrip("\n") + "\n"


def _toml_lines(section: object, name: str) -> Iterator[str]:
    """Yield the fields of a section, then its inner sections; nothing for an empty one."""
    values = {spec.name: getattr(section, spec.name) for spec in dataclasses.fields(section)}  # type: ignore[arg-type]
    inner = {key: value for key, value in values.items() if dataclasses.is_dataclass(value)}
    plain = [f"{key} = {_toml_value(values[key])}" for key in values if key not in inner]
    if name and plain:
        yield from ("", f"[{name}]")
    yield from plain
    for key, value in inner.items():
        yield from _toml_lines(value, f"{name}.{key}" if name else key)


def flat_settings(config: RunConfig) -> dict[str, str]:
    """Return every field, named as on the command line, with its value in TOML.

    >>> flat_settings(load_preset("quickstart"))["model.num-layers"]
    '4'
    """
    settings, section = {}, ""
    for line in config_to_toml(config).splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif line:
            name, _, value = line.partition(" = ")
            settings[(section + name).replace("_", "-")] = value.strip('"')
    return settings


def _build_run(document: dict[str, object], *, origin: str) -> RunConfig:
    try:
        return _build(RunConfig, document, origin=origin, prefix="")
    except ValueError as error:  # a section's own checks do not know the file
        if str(error).startswith(origin):
            raise
        raise ValueError(f"{origin}: {error}") from error


def _build(cls: type, document: dict[str, object], *, origin: str, prefix: str) -> typing.Any:
    specs = {spec.name: spec for spec in dataclasses.fields(cls)}
    for key in document:
        if key not in specs:
            require_current_name(prefix + key, origin=f"{origin}: ")
            raise ValueError(f"{origin}: unknown key {prefix + key!r}{hint(key, list(specs))}")
    values = {}
    for name, spec in specs.items():
        if name in document:
            values[name] = _convert(document[name], spec.type, origin=origin, key=prefix + name)
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ValueError(f"{origin}: missing key {prefix + name!r}; add it")
    return cls(**values)


def _convert(value: object, kind: typing.Any, *, origin: str, key: str) -> object:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{origin}: {key!r} is {value!r}, but must be a table [{key}]")
        return _build(typing.cast(type, kind), value, origin=origin, prefix=f"{key}.")
    converted = _convert_scalar(value, kind)
    if converted is _INVALID:
        raise ValueError(f"{origin}: {key!r} is {value!r}, but must be {describe_kind(kind)}")
    return converted


_INVALID = object()


def _convert_scalar(value: typing.Any, kind: typing.Any) -> object:
    """Convert a TOML value to a field's type; return `_INVALID` if it does not fit."""
    inner = optional_kind(kind)
    if inner is not None:
        return None if value == "none" else _convert_scalar(value, inner)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            return _INVALID
        items = tuple(_convert_scalar(item, typing.get_args(kind)[0]) for item in value)
        return _INVALID if _INVALID in items else items
    if kind is Path:
        return Path(value) if isinstance(value, str) else _INVALID
    if not is_of_kind(value, kind):
        return _INVALID
    return float(typing.cast(float, value)) if kind is float else value


def _toml_value(value: object) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    body = "".join(  # control characters are escaped, as TOML 1.0 requires
        char if char >= " " and char != "\x7f" else f"\\u{ord(char):04x}" for char in escaped
    )
    return f'"{body}"'
