"""Read a model from the name of a preset, a configuration or weights.

Stage: a name or a path -> *Model* -> every account. Nothing is downloaded, executed or guessed: an
error asks for missing fields. Weights are read first; a configuration beside them completes them if
it describes the same model. Not here: the configurations of programs that train models, which pass
their own readers (`Application`).
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from accounting.parameters import count_parameters
from accounting.presets import PRESETS
from accounting.shape import ModelShape
from accounting.sources.huggingface import MODEL_TYPES, shape_from_huggingface
from accounting.sources.model import Application, Model
from accounting.sources.tensor_names import describe_difference, shape_from_parameters
from accounting.sources.weights import INDEX_SUFFIX, find_weights, read_weights

WEIGHTS = "a .safetensors file or the index of several, or a folder that holds one of them"
TRAINERS = "uv run --package trainer costs"
"""The command for files that only the trainer reads or writes."""


def _read_json(path: Path) -> Model:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path} must hold a JSON object")
    if "model_type" in document or "architectures" in document:
        return Model(name=str(path), shape=shape_from_huggingface(document, origin=str(path)))
    return Model(name=str(path), shape=_build_shape(document, origin=str(path)))


ACCOUNTING = Application(
    presets={name: partial(Model, name=name, shape=shape) for name, shape in PRESETS.items()},
    formats={"config.json": _read_json},
    accepted=f"a preset ({', '.join(PRESETS)}), a config.json of {', '.join(MODEL_TYPES)}, "
    f"{WEIGHTS}; `{TRAINERS}` accepts presets, configurations and runs of the trainer",
)


def read_model(source: str, *, application: Application = ACCOUNTING, **overrides: Any) -> Model:
    """Read a model.

    Args:
        source: a preset's name or a path; see `Application.accepted`.
        application: its presets and configurations are known besides weights.
        overrides: fields of `ModelShape` that complete or replace those of a source; they must
            agree with weights.

    Raises:
        ValueError: there is no such preset or file, it cannot be read, or its weights contradict
            the configuration in their folder or the overrides.

    >>> read_model("gpt2-xl").shape.num_layers
    48
    """
    path = Path(source)
    if source in application.presets:
        model = application.presets[source]()
    elif path.is_dir():
        model = _read_folder(path, application, num_heads=overrides.get("num_heads"))
    elif path.is_file():
        model = _read_file(path, application, num_heads=overrides.get("num_heads"))
    else:
        near = difflib.get_close_matches(source, application.presets, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"{source!r} is neither a preset nor a file; did you mean {near!r}? Accepted are "
            f"{application.accepted}"
        )
    unknown = tuple(name for name in model.unknown if name not in overrides)
    model = replace(model, shape=replace(model.shape, **overrides), unknown=unknown)
    _require_agreement(model, other="the given shape" if overrides else "its first layer")
    return model


def _require_agreement(model: Model, *, other: str) -> None:
    if model.weights is None:
        return
    found = describe_difference(
        model.shape, model.weights.parameters, weights=str(model.weights.path), other=other
    )
    if found:
        raise ValueError(found)


def _read_folder(folder: Path, application: Application, *, num_heads: int | None) -> Model:
    configs, weights = _configs_in(folder, application), find_weights(folder)
    models = [] if weights else [_read_file(path, application) for path in configs]
    weights = weights or next((model.checkpoint for model in models if model.checkpoint), None)
    if weights is not None:
        model = _read_weights(weights, configs, application, num_heads=num_heads)
        if model.note:
            raise ValueError(f"{model.note}; name only the weights or the configuration")
        return replace(model, name=str(folder))
    if not models:
        raise ValueError(
            f"{folder} holds neither {' nor '.join(application.formats)} nor a .safetensors file; "
            f"accepted are {application.accepted}"
        )
    if any(_sizes(model.shape) != _sizes(models[0].shape) for model in models[1:]):
        raise ValueError(
            f"{' and '.join(model.name for model in models)} describe different models, of "
            f"{' and '.join(f'{count_parameters(model.shape).total:,}' for model in models)} "
            "parameters; name one of them"
        )
    return models[0]


def _configs_in(folder: Path, application: Application) -> list[Path]:
    return [folder / name for name in application.formats if (folder / name).is_file()]


def _sizes(shape: ModelShape) -> ModelShape:
    """Return a shape in which equal models are spelled alike."""
    return replace(
        shape, rope_layout="adjacent", num_kv_heads=shape.kv_heads, head_width=shape.d_head
    )


def _read_file(path: Path, application: Application, *, num_heads: int | None = None) -> Model:
    if path.suffix == ".safetensors" or path.name.endswith(INDEX_SUFFIX):
        configs = _configs_in(path.parent, application)
        return _read_weights(path, configs, application, num_heads=num_heads)
    readers = {Path(name).suffix: read for name, read in application.formats.items()}
    if path.suffix not in readers:
        raise ValueError(f"{path} is of an unknown kind; accepted are {application.accepted}")
    with _describing(path):
        return readers[path.suffix](path)


@contextmanager
def _describing(path: Path) -> Iterator[None]:
    """Turn any error of damaged content into a ValueError that names the file."""
    try:
        yield
    except (LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(
            f"{path} does not describe a model ({error!r}); name another file, or a preset"
        ) from error
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"{path}: {error}") from error


def _read_weights(
    path: Path, configs: Sequence[Path], application: Application, *, num_heads: int | None
) -> Model:
    """Read weights; heads and context, which they lack, from a matching configuration."""
    with _describing(path):
        weights = read_weights(path)
        shape, unknown = shape_from_parameters(
            weights.parameters, origin=str(weights.path), num_heads=num_heads
        )
    notes = []
    for config in configs:
        try:
            beside = _read_file(config, application)
        except ValueError as error:
            notes.append(str(error))
            continue
        full = beside.shape
        if beside.has_spare_ids:  # the weights have exactly the tokenizer's
            full = replace(full, vocab_size=min(shape.vocab_size, full.vocab_size))
        found = describe_difference(
            full, weights.parameters, weights=str(weights.path), other=str(config)
        )
        if found is None:
            return replace(beside, name=str(path), shape=full, weights=weights)
        notes.append(found)
    note = notes[0] if notes else ""
    return Model(name=str(path), shape=shape, unknown=unknown, weights=weights, note=note)


def _build_shape(given: Mapping[str, Any], *, origin: str) -> ModelShape:
    names = [spec.name for spec in fields(ModelShape)]
    unknown = [key for key in given if key not in names]
    if unknown:
        near = difflib.get_close_matches(unknown[0], names, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"{origin}: unknown field {unknown[0]!r}; did you mean {near!r}? Accepted are "
            f"{', '.join(names)}"
        )
    try:
        return ModelShape(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{origin}: {error}") from None
