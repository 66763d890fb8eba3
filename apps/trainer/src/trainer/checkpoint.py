"""Keep a run's checkpoints: complete or absent, checked by hash, the newest valid one found.

Stage: model, optimizer, progress <-> *runs/R/checkpoints/step-N*. A checkpoint is built beside its
place and renamed into it, so that a directory named step-N was complete once; length and SHA-256 in
`state.json` tell whether it still is. Not here: the single-file checkpoint (`serialization.py`).

    checkpoints/step-N/
        model.safetensors      CS336's state-dict names; any safetensors reader loads it
        optimizer.safetensors  its tensors, and the rest as JSON in the metadata
        state.json             format, version, step, hashes, the caller's state
        config.toml            the resolved configuration
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer.durable import sync_directory, write_durably
from trainer.packing import pack_model, pack_optimizer, unpack_model, unpack_optimizer
from trainer.serialization import from_safetensors, require_format, to_safetensors

FORMAT = "trainer.checkpoint"
OPTIMIZER_FORMAT = "trainer.optimizer"
VERSION = 1

_MODEL_FILE, _OPTIMIZER_FILE = "model.safetensors", "optimizer.safetensors"
_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files were whole when it was found."""

    path: Path
    step: int
    state: dict[str, Any]
    """What the caller gave to `write_checkpoint`."""


def write_checkpoint(
    run_dir: Path,
    *,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    config_toml: str,
) -> Path:
    """Write `checkpoints/step-N`, unless a valid one is there already.

    Args:
        run_dir: the run directory; one process at a time writes to it.
        step: optimizer steps taken.
        model: any module.
        optimizer: over the model's parameters.
        state: JSON; whatever else the run needs in order to go on.
        config_toml: the resolved configuration.

    Returns:
        The checkpoint's directory.
    """
    final = run_dir / "checkpoints" / f"step-{step}"
    if final.exists() and not isinstance(_inspect(final), str):
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(final.parent)
    beside = final.with_name(final.name + ".tmp")
    beside.mkdir()
    try:
        _write_files(beside, step, model, optimizer, state, config_toml)
        if final.exists():  # damaged: see above
            _remove(final)
        beside.rename(final)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    sync_directory(final.parent)
    return final


def newest_checkpoint(run_dir: Path) -> tuple[Checkpoint | None, list[str]]:
    """Find the newest valid checkpoint of a run; reads only.

    Returns:
        The checkpoint, None where there is no valid one, and why newer ones were skipped.
    """
    skipped = []
    for path in _newest_first(run_dir):
        found = _inspect(path)
        if isinstance(found, Checkpoint):
            return found, skipped
        skipped.append(found)
    return None, skipped


def load_into(
    checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Fill model and optimizer; neither changes if that fails.

    Returns:
        The state that was given to `write_checkpoint`.

    Raises:
        ValueError: it is a checkpoint of another model or optimizer; the message says what differs.
    """
    model_state = _read_model(checkpoint, model)
    path = checkpoint.path / _OPTIMIZER_FILE
    tensors, metadata = from_safetensors(path.read_bytes(), str(path))
    require_format(metadata, name=OPTIMIZER_FORMAT, version=VERSION, source=path)
    optimizer_state = unpack_optimizer(
        tensors, json.loads(metadata["optimizer"]), optimizer, model, source=str(path)
    )
    model.load_state_dict(model_state)
    optimizer.load_state_dict(optimizer_state)
    return checkpoint.state


def load_model(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Fill the model alone, to use it rather than to train on.

    Raises:
        ValueError: it is a checkpoint of another model; the message says what differs.
    """
    model.load_state_dict(_read_model(checkpoint, model))


def prune_checkpoints(run_dir: Path, keep: int) -> None:
    """Remove all but the newest `keep` valid checkpoints; damaged ones go too.

    Raises:
        ValueError: keep is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}, but at least 1 checkpoint must stay")
    kept = 0
    for path in _newest_first(run_dir):
        if kept < keep and isinstance(_inspect(path), Checkpoint):
            kept += 1
        else:
            _remove(path)


def _write_files(
    directory: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    config_toml: str,
) -> None:
    tensors, rest = pack_model(model)
    # "pt" is what readers of other projects look for in a model's metadata.
    model_bytes = to_safetensors(tensors, {"format": "pt", "model": json.dumps(rest)})
    tensors, rest = pack_optimizer(optimizer, model)
    metadata = {"format": OPTIMIZER_FORMAT, "version": str(VERSION), "optimizer": json.dumps(rest)}
    files = {_MODEL_FILE: model_bytes, _OPTIMIZER_FILE: to_safetensors(tensors, metadata)}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "step": step,
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        },
        "state": dict(state),
    }
    files["state.json"] = (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()
    files["config.toml"] = config_toml.encode()
    for name, data in files.items():
        write_durably(directory / name, [data])
    sync_directory(directory)


def _inspect(path: Path) -> Checkpoint | str:
    """Return the checkpoint at `path`, or what is wrong with it."""
    source = path / "state.json"
    try:
        document = json.loads(source.read_text(encoding="utf-8"))
        require_format(document, name=FORMAT, version=VERSION, source=source)
        for name in (_MODEL_FILE, _OPTIMIZER_FILE):
            _require_whole(path / name, document["files"][name])
        checkpoint = Checkpoint(path, document["step"], document["state"])
    except json.JSONDecodeError as error:
        return f"{path}: state.json is not valid JSON: {error}"
    except (OSError, ValueError) as error:
        return f"{path}: {error}"
    except (KeyError, TypeError, AttributeError) as error:
        return f"{path}: state.json is incomplete: {error!r}"
    if path.name != f"step-{checkpoint.step}" or not isinstance(checkpoint.step, int):
        return f"{path}: state.json is of step {checkpoint.step!r}"
    return checkpoint


def _require_whole(path: Path, recorded: Mapping[str, Any]) -> None:
    size = path.stat().st_size
    if size != recorded["bytes"]:
        raise ValueError(f"{path.name} has {size} bytes and not {recorded['bytes']}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != recorded["sha256"]:
            raise ValueError(f"{path.name} is damaged: its SHA-256 is not the recorded one")


def _read_model(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Any]:
    path = checkpoint.path / _MODEL_FILE
    tensors, metadata = from_safetensors(path.read_bytes(), str(path))
    return unpack_model(tensors, json.loads(metadata.get("model", "{}")), model, source=str(path))


def _newest_first(run_dir: Path) -> list[Path]:
    directory = run_dir / "checkpoints"
    paths = directory.iterdir() if directory.is_dir() else ()
    numbered = [(int(match[1]), path) for path in paths if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]


def _remove(path: Path) -> None:
    """Take a checkpoint's name away first: half a deletion must not look like a damaged one."""
    doomed = path.with_name(path.name + ".removed.tmp")
    path.rename(doomed)
    shutil.rmtree(doomed)


def _remove_leftovers(directory: Path) -> None:
    """Remove what an interrupted write or removal left."""
    for path in directory.glob("step-*.tmp"):
        shutil.rmtree(path)
