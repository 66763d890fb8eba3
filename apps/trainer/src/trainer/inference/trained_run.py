"""Load a trained run: its configuration, tokenizer and newest model.

Stage: run directory -> *model, tokenizer* -> samples, scores.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from nn_layers import TransformerLM
from tokenizer import Tokenizer
from trainer.checkpoint.run_checkpoint import Checkpoint, load_model, newest_checkpoint
from trainer.command_hints import command
from trainer.config.presets import load_config
from trainer.config.run_config import RunConfig
from trainer.plan.devices import loaded_dtype, resolve_device
from trainer.plan.model import build_model
from trainer.storage.run_directory import RunDirectory, read_json, require_run


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A trained model, ready to use."""

    run: RunDirectory
    config: RunConfig
    tokenizer: Tokenizer
    model: TransformerLM
    device: torch.device
    dtype: torch.dtype
    step: int
    skipped: list[str]
    """Newer checkpoints that were not used, and why."""


def load_run(path: str | os.PathLike[str], *, device: str | None = None) -> LoadedRun:
    """Load the newest valid checkpoint of the run at `path`, onto `device` or the run's own.

    Raises:
        ValueError: no run, no valid checkpoint yet, or a checkpoint of another model.
    """
    path = Path(path)
    run = require_run(path)
    config = load_config(run.config)
    checkpoint, skipped = newest_checkpoint(path)
    if checkpoint is None:
        reasons = "".join(f"; skipped {reason}" for reason in skipped)
        advice = command("train", "--resume", path)
        raise ValueError(f"{path} has no valid checkpoint{reasons}; train it first: {advice}")
    require_same_model(checkpoint, config)
    tokenizer = _load_tokenizer(run, config)
    target = resolve_device(device or config.device)
    model = build_model(config, vocab_size=tokenizer.vocab_size, device=target)
    load_model(checkpoint, model)
    return LoadedRun(
        run=run,
        config=config,
        tokenizer=tokenizer,
        model=model.eval(),
        device=target,
        dtype=loaded_dtype(config.dtype, target),
        step=checkpoint.step,
        skipped=skipped,
    )


def require_same_model(checkpoint: Checkpoint, config: RunConfig) -> None:
    """Insist on the model that was saved: other heads or norms have weights of the same shapes."""
    saved, ours = asdict(load_config(checkpoint.path / "config.toml").model), asdict(config.model)
    del saved["attention"], ours["attention"]  # how it is computed, not what
    changed = [f"{key} was {saved[key]}, is {ours[key]}" for key in ours if saved[key] != ours[key]]
    if changed:
        raise ValueError(
            f"{checkpoint.path} is a checkpoint of another model: {'; '.join(changed)}; restore "
            "config.toml of the run or of the checkpoint"
        )


def _load_tokenizer(run: RunDirectory, config: RunConfig) -> Tokenizer:
    """Load the run's copy of the tokenizer, if the model was trained with it."""
    recorded = read_json(run.data)
    original = config.corpus.cache_dir / str(recorded.get("content_hash")) / "tokenizer"
    try:
        tokenizer = Tokenizer.load(run.tokenizer)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error}; copy {original} to {run.tokenizer}") from error
    if tokenizer.fingerprint != recorded.get("tokenizer"):
        raise ValueError(
            f"{run.tokenizer} holds the tokenizer {tokenizer.fingerprint}, but the run was trained "
            f"with {recorded.get('tokenizer')}; copy {original} there"
        )
    return tokenizer
