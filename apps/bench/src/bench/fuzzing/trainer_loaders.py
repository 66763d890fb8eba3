"""Try damaged files on the loaders of checkpoints and configurations.

Stage: valid files -> damaged files -> *load, watched* -> findings. Needs the trainer, and so torch.
Not here: the other loaders (`loaders`).
"""

import random
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from torch import nn

from bench.fuzzing.loaders import BINARY_BYTES_A_BYTE, TOML_BYTES_A_BYTE, Loader
from bench.fuzzing.mutations import mutate_json, mutate_safetensors, mutate_toml
from optim import AdamW
from trainer import load_checkpoint, save_checkpoint
from trainer.checkpoint.manifest import NAME as MANIFEST
from trainer.checkpoint.manifest import manifest_bytes
from trainer.checkpoint.run_checkpoint import (
    load_into,
    newest_checkpoint,
    take_snapshot,
    write_checkpoint,
)
from trainer.checkpoint.single_file import from_safetensors, to_sealed_safetensors
from trainer.config.presets import config_to_toml, load_config, load_preset


def single_file(folder: Path) -> Loader:
    """Return the target for single-file checkpoints."""
    model, optimizer = _trained()
    save_checkpoint(model, optimizer, 7, folder / "a.safetensors")

    def load(folder: Path) -> object:
        return load_checkpoint(folder / "a.safetensors", *_fresh())

    how = {"bytes_a_byte": BINARY_BYTES_A_BYTE, "seal": _seal_single_file}
    return Loader(folder, {"a.safetensors": mutate_safetensors}, load, **how)


def run_checkpoint(folder: Path) -> Loader:
    """Return the target for the checkpoints of a run directory."""
    model, optimizer = _trained()
    snapshot = take_snapshot(
        step=3, model=model, optimizer=optimizer, state={"a": 1}, config_toml="a = 1\n"
    )
    path = write_checkpoint(folder, snapshot)
    kinds = {
        str(file.relative_to(folder)): (
            mutate_safetensors if file.suffix == ".safetensors" else mutate_json
        )
        for file in sorted(path.iterdir())
        if file.suffix in (".safetensors", ".json")
    }

    def load(folder: Path) -> None:
        checkpoint, skipped = newest_checkpoint(folder)
        if checkpoint is None:
            raise ValueError(" ".join(skipped))
        load_into(checkpoint, *_fresh())

    return Loader(
        folder, kinds, load, bytes_a_byte=BINARY_BYTES_A_BYTE, seal=partial(_seal, path.name)
    )


def _seal_single_file(files: dict[str, bytes], rng: random.Random) -> None:
    """Update the checksum of a damaged file, as a forger would, if it is still a valid format."""
    with suppress(ValueError):
        tensors, metadata = from_safetensors(files["a.safetensors"], "")
        metadata.pop("sha256", None)
        files["a.safetensors"] = b"".join(to_sealed_safetensors(tensors, metadata))


def _seal(name: str, files: dict[str, bytes], rng: random.Random) -> None:
    """Write a manifest for damaged files, as a forger would; some name other files."""
    parts = {
        Path(path).name: [content]
        for path, content in files.items()
        if not path.endswith(MANIFEST) and f"/{name}/" in f"/{path}"
    }
    if rng.random() < 0.1:
        parts[rng.choice(("../../x", "/etc/hostname", "", ".", "a\0b", "\ud800"))] = [b"x"]
    with suppress(UnicodeEncodeError):
        files[f"checkpoints/{name}/{MANIFEST}"] = manifest_bytes(parts)


def config_toml(folder: Path) -> Loader:
    """Return the target for run configurations."""
    (folder / "config.toml").write_text(config_to_toml(load_preset("quickstart")), "utf-8")

    def load(folder: Path) -> str:
        return config_to_toml(load_config(folder / "config.toml"))

    return Loader(folder, {"config.toml": mutate_toml}, load, bytes_a_byte=TOML_BYTES_A_BYTE)


def _fresh() -> tuple[nn.Module, AdamW]:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    return model, AdamW(model.parameters(), lr=1e-3)


def _trained() -> tuple[nn.Module, AdamW]:
    model, optimizer = _fresh()
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return model, optimizer
