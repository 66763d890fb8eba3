"""Verify every file of a run.

Stage: run directory, prepared data -> *findings*. Files are only read; findings name the remedy.
Not here: the quality of the model (`evaluation/score.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import torch

from tokenizer import TokenFile, Tokenizer
from trainer.checkpoint.loop_state import LoopState
from trainer.checkpoint.run_checkpoint import (
    Checkpoint,
    inspect_checkpoint,
    list_checkpoints,
    load_into,
)
from trainer.checkpoint.sittings import read_sittings
from trainer.config.presets import load_config
from trainer.data.provenance import require_recorded
from trainer.data.relocation import find_places
from trainer.inference.trained_run import require_same_model
from trainer.monitoring.metrics import read_metrics
from trainer.monitoring.progress import Reporter
from trainer.plan.model import build_model
from trainer.storage.run_directory import RunDirectory, read_json, require_run, temporary_files
from trainer.summary import Summary


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one file."""

    path: Path
    is_whole: bool
    text: str
    """What was checked, or what is wrong and what to do."""


def examine(run_dir: Path) -> Iterator[Finding]:
    """Yield a finding for every file of a run, and for its prepared data.

    Raises:
        ValueError: there is no run.
    """
    run = require_run(run_dir)
    yield _try(run.config, "read", load_config)
    yield _try(run.data, "read", read_json)
    yield _try(run.tokenizer, "fingerprint agrees", lambda path: _check_tokenizer(run))
    if run.metrics.exists():
        yield _try(run.metrics, "rows in order", _check_metrics)
    if run.sittings.exists():
        yield _try(run.sittings, "read", read_sittings)
    yield from _checkpoints(run)
    yield from _results(run)
    yield from _prepared(run)
    temporary = temporary_files(run)
    for path in temporary:
        yield Finding(path, True, "left by an interrupted process; the next start removes it")
    known = {run.config, run.data, run.tokenizer, run.metrics, run.summary, run.curve, run.samples}
    known |= {run.lock, run.sittings, run.path / "checkpoints", *temporary}
    for path in sorted(set(run.path.iterdir()) - known):
        yield Finding(path, True, "not checked: resuming does not need it")


def _try(path: Path, text: str, check: Callable[[Path], object]) -> Finding:
    try:
        check(path)
    except (OSError, ValueError, KeyError, ElementTree.ParseError) as error:
        return Finding(path, False, str(error))
    return Finding(path, True, text)


def _check_tokenizer(run: RunDirectory) -> None:
    found, recorded = Tokenizer.load(run.tokenizer).fingerprint, read_json(run.data)["tokenizer"]
    if found != recorded:
        raise ValueError(f"holds tokenizer {found}, but the run was trained with {recorded}")


def _check_metrics(path: Path) -> None:
    rows = read_metrics(path)
    for before, row in pairwise(rows):
        if row["step"] < before["step"] or (row["step"], row["kind"]) == (
            before["step"],
            before["kind"],
        ):
            raise ValueError(
                f"{row['kind']} of step {row['step']} follows {before['kind']} of step "
                f"{before['step']}; resuming drops what is beyond the checkpoint"
            )


def _checkpoints(run: RunDirectory) -> Iterator[Finding]:
    paths = list_checkpoints(run.path)
    load = _trial_loader(run) if paths else None
    for path in paths:
        found = inspect_checkpoint(path)
        if isinstance(found, str):
            yield Finding(path, False, f"{found}; resuming skips it, and removes it later")
        elif load is None:
            text = "manifest and SHA-256 of each file agree; not loaded, because the run is damaged"
            yield Finding(path, True, text)
        else:
            text = "manifest and SHA-256 of each file agree; the run can resume from it"
            yield _try(path, text, lambda path, found=found: load(found))
    if not paths:
        yield Finding(run.path / "checkpoints", True, "none yet; resuming starts at step 0")


def _trial_loader(run: RunDirectory) -> Callable[[Checkpoint], object] | None:
    """Return a function that loads a checkpoint as resuming does; None: the run is damaged."""
    try:
        config = load_config(run.config)
        vocab_size = Tokenizer.load(run.tokenizer).vocab_size
    except (OSError, ValueError):
        return None  # reported above
    model = build_model(config, vocab_size=vocab_size, device=torch.device("cpu"))
    optimizer = config.optimizer.build(model)

    def load(checkpoint: Checkpoint) -> None:
        LoopState.from_checkpoint(checkpoint)
        require_same_model(checkpoint, config)
        load_into(checkpoint, model, optimizer)

    return load


def _results(run: RunDirectory) -> Iterator[Finding]:
    if run.summary.exists():
        yield _try(run.summary, "read; the run is finished", Summary.load)
    if run.curve.exists():
        yield _try(run.curve, "read", ElementTree.parse)
    for path in sorted(run.samples.glob("*.txt")):
        yield _try(path, "read", lambda path: path.read_text(encoding="utf-8"))


def _prepared(run: RunDirectory) -> Iterator[Finding]:
    """Check the token files, which may be gone: they can be made again from the text."""
    try:
        recorded = read_json(run.data)
        config = find_places(run, load_config(run.config), say=lambda _: None)
        folder = config.corpus.cache_dir / str(recorded["content_hash"]) / "tokens"
    except (OSError, ValueError, KeyError):
        return  # reported above
    for name in ("train", "validation"):
        path = folder / f"{name}.npy"
        if not path.exists():
            yield Finding(path, True, "missing; resuming makes it again from the text")
            continue
        expected = recorded.get(f"{name}_tokens")
        yield _try(path, "SHA-256 agrees", lambda path, want=expected: _check_tokens(path, want))


def _check_tokens(path: Path, expected: object) -> None:
    file = TokenFile.open(path)
    require_recorded(file, reporter=Reporter(mode="silent"))
    if file.info.sha256 != expected:
        raise ValueError(f"{path} has SHA-256 {file.info.sha256}, but the run used {expected}")
