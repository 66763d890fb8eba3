"""Keep a run's checkpoints: complete or absent, checked by hash, the newest valid one found.

Stage: model, optimizer, progress <-> *runs/R/checkpoints/step-N*. A checkpoint is built beside its
place, its manifest last, and renamed into it; every step reaches the disk before the next
(`durable.py`). It is never changed. Older ones are removed only after it was read back and
verified. Not here: when to save (`background.py`); the single-file checkpoint (`single_file.py`).

    checkpoints/step-N/
        model.safetensors      CS336's state-dict names; any safetensors reader loads it
        optimizer.safetensors  its tensors, and the rest as JSON in the metadata
        state.json             format, version, step, the caller's state
        config.toml            the resolved configuration
        manifest.json          length and SHA-256 of each
"""

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bpe.formats.files import make_directory, sync_directory
from trainer.checkpoint.manifest import NAME, manifest_bytes, read_manifest, require_whole
from trainer.checkpoint.optimizer_state import require_usable
from trainer.checkpoint.packing import (
    pack_model,
    pack_optimizer,
    reading,
    unpack_model,
    unpack_optimizer,
)
from trainer.checkpoint.single_file import from_safetensors, to_safetensors
from trainer.storage.durable import TEMPORARY, remove, rename_durably, sync_file, write_durably
from trainer.storage.file_format import require_format
from trainer.storage.run_directory import RunDirectory

FORMAT = "trainer.checkpoint"
OPTIMIZER_FORMAT = "trainer.optimizer"
VERSION = 2
OPTIMIZER_VERSION = 1

_MODEL_FILE, _OPTIMIZER_FILE = "model.safetensors", "optimizer.safetensors"
_STATE_FILE, _CONFIG_FILE = "state.json", "config.toml"
_FILES = (_MODEL_FILE, _OPTIMIZER_FILE, _STATE_FILE, _CONFIG_FILE)
_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files were whole when it was found."""

    path: Path
    step: int
    state: dict[str, Any]
    """The state given to `take_snapshot`."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The content of a checkpoint, copied so that training can continue."""

    step: int
    files: dict[str, list[bytes | memoryview]]
    """By name, in parts."""


def take_snapshot(
    *,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    config_toml: str,
) -> Snapshot:
    """Copy the model and the optimizer over its parameters to memory of their own.

    `state` is JSON: everything else that the run needs to resume.
    """
    tensors, rest = pack_model(model)
    # Other projects' readers look for "pt" in a model's metadata.
    weights = to_safetensors(_copied(tensors), {"format": "pt", "model": json.dumps(rest)})
    tensors, rest = pack_optimizer(optimizer, model)
    metadata = {"format": OPTIMIZER_FORMAT, "version": str(OPTIMIZER_VERSION)}
    moments = to_safetensors(_copied(tensors), {**metadata, "optimizer": json.dumps(rest)})
    document = {"format": FORMAT, "version": VERSION, "step": step, "state": dict(state)}
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    return Snapshot(
        step,
        {
            _MODEL_FILE: weights,
            _OPTIMIZER_FILE: moments,
            _STATE_FILE: [text.encode()],
            _CONFIG_FILE: [config_toml.encode()],
        },
    )


def write_checkpoint(run_dir: Path, snapshot: Snapshot) -> Path:
    """Write `checkpoints/step-N` of a run, unless a valid one exists, verify it, return its place.

    Only one process may write to a run directory at a time.

    Raises:
        OSError: writing failed; earlier checkpoints are unchanged.
        ValueError: the files read back differ from those written.
    """
    final = run_dir / "checkpoints" / f"step-{snapshot.step}"
    if final.exists() and isinstance(inspect_checkpoint(final), Checkpoint):
        return final
    make_directory(final.parent)
    _remove_temporary(final.parent)
    beside = final.with_name(final.name + TEMPORARY)
    try:
        _write_files(beside, snapshot.files)
        _sync_metrics(run_dir)
        if final.exists():  # damaged: see above
            remove(final)
        rename_durably(beside, final)
    except BaseException:
        with suppress(OSError):  # the next start removes it otherwise
            if beside.exists():
                remove(beside)
        raise
    require_whole(final)
    return final


def newest_checkpoint(run_dir: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest valid checkpoint of a run, if any, and why newer ones were skipped."""
    skipped = []
    for path in list_checkpoints(run_dir):
        found = inspect_checkpoint(path)
        if isinstance(found, Checkpoint):
            return found, skipped
        skipped.append(found)
    return None, skipped


def list_checkpoints(run_dir: Path) -> list[Path]:
    """Return the directories of all checkpoints, damaged ones too, the newest first."""
    directory = run_dir / "checkpoints"
    paths = directory.iterdir() if directory.is_dir() else ()
    numbered = [(int(match[1]), path) for path in paths if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]


def inspect_checkpoint(path: Path, *, in_full: bool = True) -> Checkpoint | str:
    """Return the checkpoint at `path`, or its damage; `in_full`: not only by lengths."""
    source = path / _STATE_FILE
    try:
        require_whole(path, hashes=in_full)
        if missing := set(_FILES) - set(read_manifest(path)):
            return f"{path}: {NAME} does not name {', '.join(sorted(missing))}"
        document = json.loads(source.read_text(encoding="utf-8"))
        require_format(document, name=FORMAT, version=VERSION, source=source)
        checkpoint = Checkpoint(path, document["step"], document["state"])
    except (OSError, ValueError) as error:
        return f"{path}: {error}"
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{path}: {_STATE_FILE} is incomplete: {error!r}"
    if path.name != f"step-{checkpoint.step}" or not isinstance(checkpoint.step, int):
        return f"{path}: {_STATE_FILE} is of step {checkpoint.step!r}"
    return checkpoint


def load_into(
    checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Fill model and optimizer, and return the saved state; nothing changes if that fails.

    Raises:
        ValueError: the checkpoint is damaged, or one of another model or optimizer.
    """
    model_state = _read_model(checkpoint, model)
    path = checkpoint.path / _OPTIMIZER_FILE
    tensors, metadata = from_safetensors(path.read_bytes(), str(path))
    require_format(metadata, name=OPTIMIZER_FORMAT, version=OPTIMIZER_VERSION, source=path)
    advice = f"remove {checkpoint.path} to resume from the checkpoint before"
    with reading(str(path), advice=advice):
        optimizer_state = unpack_optimizer(
            tensors, json.loads(metadata["optimizer"]), optimizer, model, source=str(path)
        )
        require_usable(optimizer_state, optimizer)
        optimizer.load_state_dict(optimizer_state)  # first: the model's is known to fit
    model.load_state_dict(model_state)
    return checkpoint.state


def load_model(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Fill only the model, to use it without further training."""
    model.load_state_dict(_read_model(checkpoint, model))


def prune_checkpoints(run_dir: Path, keep: int) -> None:
    """Remove checkpoints, damaged ones too, except the newest `keep` valid ones.

    The newest is verified in full, the others by manifest and lengths. If none is valid, nothing is
    removed.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}, but at least 1 checkpoint must stay")
    kept: list[Path] = []
    paths = list_checkpoints(run_dir)
    for path in paths:
        if len(kept) < keep and isinstance(inspect_checkpoint(path, in_full=not kept), Checkpoint):
            kept.append(path)
    for path in paths if kept else ():
        if path not in kept:
            remove(path)


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _write_files(directory: Path, files: Mapping[str, list[bytes | memoryview]]) -> None:
    directory.mkdir()
    for name, parts in files.items():
        write_durably(directory / name, parts)
    write_durably(directory / NAME, [manifest_bytes(files)])
    sync_directory(directory)


def _sync_metrics(run_dir: Path) -> None:
    """Sync the rows before the checkpoint of the same step, so that no resume finds a gap."""
    metrics = RunDirectory(run_dir).metrics
    if metrics.exists():
        sync_file(metrics)
        sync_directory(run_dir)


def _read_model(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Any]:
    path = checkpoint.path / _MODEL_FILE
    tensors, metadata = from_safetensors(path.read_bytes(), str(path))
    with reading(str(path)):
        rest = json.loads(metadata.get("model", "{}"))
        return unpack_model(tensors, rest, model, source=str(path))


def _remove_temporary(directory: Path) -> None:
    """Remove what an interrupted write or removal left."""
    for path in directory.glob(f"*{TEMPORARY}"):
        shutil.rmtree(path)
