"""Read a model from what is at hand: a preset, a run's TOML, a config.json, weights.

Stage: a name or a path -> *Model* -> every account. Nothing is downloaded, executed or guessed:
what a source does not say is either given beside it or an error that says so. Weights are asked
first: a configuration beside them adds what they do not say, if it describes the same model.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from accounting.parameters import count_parameters
from accounting.presets import PRESETS
from accounting.shape import ModelShape
from accounting.sources.huggingface import MODEL_TYPES, shape_from_huggingface
from accounting.sources.tensor_names import describe_difference, shape_from_parameters
from accounting.sources.toml_text import parse_toml
from accounting.sources.weights import INDEX_SUFFIX, Weights, find_weights, read_weights

_CONFIG_NAMES = ("config.toml", "config.json")
_WITHOUT_ACCOUNT = {"rope_theta", "attention"}
"""Fields of the trainer's [model] that change neither size nor work."""
ACCEPTED = (
    f"a preset ({', '.join(PRESETS)}), a config.toml or preset of the trainer, a config.json of "
    f"{', '.join(MODEL_TYPES)}, a .safetensors file or the index of several, or a folder that "
    "holds one of them"
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
    weights: Weights | None = None
    """What the source holds; None: a source without weights. The shape agrees with them."""
    note: str = ""
    """Why what lies beside the source does not complete it."""

    def require(self, *names: str) -> ModelShape:
        """Return the shape, if it is known as far as it is needed.

        Raises:
            ValueError: one of `names` is unknown.
        """
        missing = [f"--{name.replace('_', '-')}" for name in names if name in self.unknown]
        if missing:
            note = f" ({self.note})" if self.note else ""
            raise ValueError(f"{self.name} does not say it all{note}; give {' and '.join(missing)}")
        return self.shape


def read_model(source: str, **overrides: Any) -> Model:
    """Read a model.

    Args:
        source: a preset's name or a path; see `ACCEPTED`.
        overrides: fields of `ModelShape` that the source does not say, or says otherwise; weights
            are never said otherwise.

    Raises:
        ValueError: no such preset or file, or not one that can be read, which says what can; or
            weights of another model than the configuration in their folder, or the overrides.

    >>> read_model("gpt2-xl").shape.num_layers
    48
    """
    path = Path(source)
    if source in PRESETS:
        model = Model(name=source, shape=PRESETS[source])
    elif path.is_dir():
        model = _read_folder(path, num_heads=overrides.get("num_heads"))
    elif path.is_file():
        model = _read_file(path, num_heads=overrides.get("num_heads"))
    else:
        near = difflib.get_close_matches(source, PRESETS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"{source!r} is no preset and no file; did you mean {near!r}? Accepted are {ACCEPTED}"
        )
    unknown = tuple(name for name in model.unknown if name not in overrides)
    model = replace(model, shape=replace(model.shape, **overrides), unknown=unknown)
    _require_agreement(model, other="the shape that was given" if overrides else "its first layer")
    return model


def _require_agreement(model: Model, *, other: str) -> None:
    if model.weights is None:
        return
    found = describe_difference(
        model.shape, model.weights.parameters, weights=str(model.weights.path), other=other
    )
    if found:
        raise ValueError(found)


def _read_folder(folder: Path, *, num_heads: int | None) -> Model:
    configs = _configs_in(folder)
    weights = find_weights(folder)
    if weights is not None:
        model = _read_weights(weights, configs, num_heads=num_heads)
        if model.note:
            raise ValueError(f"{model.note}; name the weights or the configuration alone")
        return replace(model, name=str(folder))
    models = [_read_file(path) for path in configs]
    if not models:
        raise ValueError(
            f"{folder} holds neither {' nor '.join(_CONFIG_NAMES)} nor a .safetensors file; "
            f"accepted are {ACCEPTED}"
        )
    if any(_sizes(model.shape) != _sizes(models[0].shape) for model in models[1:]):
        raise ValueError(
            f"{' and '.join(model.name for model in models)} describe different models, of "
            f"{' and '.join(f'{count_parameters(model.shape).total:,}' for model in models)} "
            "parameters; name one of them"
        )
    return models[0]


def _configs_in(folder: Path) -> list[Path]:
    return [folder / name for name in _CONFIG_NAMES if (folder / name).is_file()]


def _sizes(shape: ModelShape) -> ModelShape:
    """Leave out how two spellings of one model differ without a difference."""
    return replace(
        shape, rope_layout="adjacent", num_kv_heads=shape.kv_heads, head_width=shape.d_head
    )


def _read_file(path: Path, *, num_heads: int | None = None) -> Model:
    is_weights = path.suffix == ".safetensors" or path.name.endswith(INDEX_SUFFIX)
    readers = {".toml": _read_toml, ".json": _read_json}
    if not is_weights and path.suffix not in readers:
        raise ValueError(f"{path} is of no known kind; accepted are {ACCEPTED}")
    if is_weights:
        return _read_weights(path, _configs_in(path.parent), num_heads=num_heads)
    with _describing(path):
        return readers[path.suffix](path)


@contextmanager
def _describing(path: Path) -> Iterator[None]:
    """Let whatever damaged content raises be a ValueError that names its file."""
    try:
        yield
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


def _read_weights(path: Path, configs: Sequence[Path], *, num_heads: int | None) -> Model:
    """Read weights; heads and context, which they do not say, from a configuration that fits."""
    with _describing(path):
        weights = read_weights(path)
        shape, unknown = shape_from_parameters(
            weights.parameters, origin=str(weights.path), num_heads=num_heads
        )
    notes = []
    for config in configs:
        try:
            beside = _read_file(config)
        except ValueError as error:
            notes.append(str(error))
            continue
        full = _with_vocabulary_of(shape, beside)
        found = describe_difference(
            full, weights.parameters, weights=str(weights.path), other=str(config)
        )
        if found is None:
            return Model(name=str(path), shape=full, run=beside.run, weights=weights)
        notes.append(found)
    note = notes[0] if notes else ""
    return Model(name=str(path), shape=shape, unknown=unknown, weights=weights, note=note)


def _with_vocabulary_of(weights: ModelShape, beside: Model) -> ModelShape:
    """Return a configuration's shape with the ids that there are.

    A trained tokenizer may have fewer than the run's configuration asked for: the weights know.
    """
    if "vocab_size" not in beside.run.get("tokenizer", {}):
        return beside.shape
    return replace(beside.shape, vocab_size=min(weights.vocab_size, beside.shape.vocab_size))


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
