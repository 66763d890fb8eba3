"""Checkpoints that are whole, to the last hash, and yet hold what no run has written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from trainer.checkpoint.manifest import NAME, manifest_bytes
from trainer.checkpoint.single_file import from_safetensors, to_safetensors


def reseal(checkpoint: Path) -> None:
    """Have the manifest of a checkpoint vouch for what is there now."""
    names = ["model.safetensors", "optimizer.safetensors", "state.json", "config.toml"]
    paths = [checkpoint / name for name in names if (checkpoint / name).exists()]
    data = manifest_bytes({path.name: [path.read_bytes()] for path in paths})
    (checkpoint / NAME).write_bytes(data)


def forge_state(checkpoint: Path, **changes: object) -> None:
    """Change entries of what the caller's state was."""
    file = checkpoint / "state.json"
    document = json.loads(file.read_text())
    document["state"] |= changes
    file.write_text(json.dumps(document))
    reseal(checkpoint)


def forge_optimizer(checkpoint: Path, change: Callable[[dict[str, Tensor], Any], object]) -> None:
    """Change the optimizer's tensors by name, and what belongs to them as JSON, in place."""
    file = checkpoint / "optimizer.safetensors"
    tensors, metadata = from_safetensors(file.read_bytes(), str(file))
    rest = json.loads(metadata["optimizer"])
    change(tensors, rest)
    parts = to_safetensors(tensors, {**metadata, "optimizer": json.dumps(rest)})
    file.write_bytes(b"".join(parts))
    reseal(checkpoint)
