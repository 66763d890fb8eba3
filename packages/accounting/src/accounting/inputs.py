"""Read a model from what is at hand: a preset, a run's TOML, a config.json, a safetensors header.

Stage: a name or a path -> *Model* -> every account. Nothing is downloaded, executed or guessed:
what a source does not say is either given beside it or an error that says so.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from accounting.huggingface import MODEL_TYPES, shape_from_huggingface
from accounting.presets import PRESETS
from accounting.safetensors_header import shape_from_header
from accounting.shape import ModelShape
from accounting.toml_text import parse_toml

_CONFIG_NAMES = ("config.toml", "config.json")
_WITHOUT_ACCOUNT = {"rope_theta", "attention"}
"""Fields of the trainer's [model] that change neither size nor work."""
ACCEPTED = (
    f"a preset ({', '.join(PRESETS)}), a config.toml or preset of the trainer, a config.json of "
    f"{', '.join(MODEL_TYPES)}, a .safetensors file, or a folder that holds one of them"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model, and what its source says about training it."""

    name: str
    shape: ModelShape
    run: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Sections of the trainer's configuration; empty where the source is another."""
    unknown: tuple[str, ...] = ()
    """Fields of the shape that the source does not say; their values there mean nothing."""

    def require(self, *names: str) -> ModelShape:
        """Return the shape, if it is known as far as it is needed.

        Raises:
            ValueError: one of `names` is unknown.
        """
        missing = [f"--{name.replace('_', '-')}" for name in names if name in self.unknown]
        if missing:
            raise ValueError(f"{self.name} does not say it all; give {' and '.join(missing)}")
        return self.shape


def read_model(source: str, **overrides: Any) -> Model:
    """Read a model.

    Args:
        source: a preset's name or a path; see `ACCEPTED`.
        overrides: fields of `ModelShape` that the source does not say, or says otherwise.

    Raises:
        ValueError: no such preset or file, or not one that can be read; says what can.

    >>> read_model("gpt2-xl").shape.num_layers
    48
    """
    path = Path(source)
    if source in PRESETS:
        model = Model(name=source, shape=PRESETS[source])
    elif path.is_dir():
        model = _read_folder(path)
    elif path.is_file():
        model = _read_file(path)
    else:
        near = difflib.get_close_matches(source, PRESETS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"{source!r} is no preset and no file; did you mean {near!r}? Accepted are {ACCEPTED}"
        )
    unknown = tuple(name for name in model.unknown if name not in overrides)
    return replace(model, shape=replace(model.shape, **overrides), unknown=unknown)


def _read_folder(folder: Path) -> Model:
    for name in _CONFIG_NAMES:
        if (folder / name).is_file():
            return _read_file(folder / name)
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return _read_file(files[0])
    raise ValueError(
        f"{folder} holds neither {' nor '.join(_CONFIG_NAMES)} nor a single .safetensors file; "
        f"accepted are {ACCEPTED}"
    )


def _read_file(path: Path) -> Model:
    readers = {".toml": _read_toml, ".json": _read_json, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise ValueError(f"{path} is of no known kind; accepted are {ACCEPTED}")
    try:
        return readers[path.suffix](path)
    except (LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(
            f"{path} describes no model ({error!r}); accepted are {ACCEPTED}"
        ) from error
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"{path}: {error}") from error


def _read_toml(path: Path) -> Model:
    try:
        document = parse_toml(path.read_text(encoding="utf-8"), origin=str(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    section = document.get("model")
    if not isinstance(section, dict):
        raise ValueError(f"{path} has no section [model]; accepted are {ACCEPTED}")
    given = {
        key: None if value == "none" and _may_be_none(key) else value
        for key, value in section.items()
    }
    tokenizer = document.get("tokenizer", {})
    if "vocab_size" in tokenizer:
        given.setdefault("vocab_size", tokenizer["vocab_size"])
    shape = _build_shape(given, origin=str(path), ignored=_WITHOUT_ACCOUNT)
    run = {key: value for key, value in document.items() if isinstance(value, dict)}
    return Model(name=str(path), shape=shape, run=run | {"run": _plain(document)})


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if not isinstance(value, dict)}


def _may_be_none(key: str) -> bool:
    """Whether "none" is the absence of a value, and not a choice of that name."""
    return key in ("num_kv_heads", "sliding_window", "head_width")


def _read_json(path: Path) -> Model:
    document = _load_json(path)
    if "model_type" in document or "architectures" in document:
        return Model(name=str(path), shape=shape_from_huggingface(document, origin=str(path)))
    return Model(name=str(path), shape=_build_shape(document, origin=str(path)))


def _load_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no JSON object; accepted are {ACCEPTED}")
    return document


def _read_safetensors(path: Path) -> Model:
    """Read the header; heads and context, which it lacks, from a configuration beside it."""
    for name in _CONFIG_NAMES:
        if (path.parent / name).is_file():
            beside = _read_file(path.parent / name)
            shape, _ = shape_from_header(path, num_heads=beside.shape.num_heads)
            # A trained tokenizer may have fewer ids than was asked for: the weights know.
            shape = replace(beside.shape, vocab_size=shape.vocab_size)
            return Model(name=str(path), shape=shape, run=beside.run)
    shape, unknown = shape_from_header(path)
    return Model(name=str(path), shape=shape, unknown=unknown)


def _build_shape(
    given: Mapping[str, Any], *, origin: str, ignored: set[str] | None = None
) -> ModelShape:
    names = [spec.name for spec in fields(ModelShape)]
    unknown = [key for key in given if key not in names and key not in (ignored or ())]
    if unknown:
        near = difflib.get_close_matches(unknown[0], names, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"{origin}: unknown field {unknown[0]!r}; did you mean {near!r}? Accepted are "
            f"{', '.join(names)}"
        )
    try:
        return ModelShape(**{key: value for key, value in given.items() if key in names})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{origin}: {error}") from None
