"""Find the run that `--resume` means.

Stage: command line -> *run directory* -> train. Reads only. Not here: what a resumed run may change
(`resumable.py`).
"""

from pathlib import Path

from trainer.checkpoint.run_checkpoint import newest_checkpoint
from trainer.config.presets import load_config
from trainer.inference.trained_run import require_same_model
from trainer.storage.file_lock import lock_holder
from trainer.storage.run_directory import RUNS, RunDirectory, numbered_runs, read_json, require_run
from trainer.training.loop import LoopState
from trainer.training.sittings import read_sittings

AUTO = "auto"


def find_run_to_resume(
    asked: str, *, preset: str, run_dir: Path | None = None
) -> tuple[Path | None, tuple[str, ...]]:
    """Return the run directory that `--resume asked` means, and what to report about the choice.

    Args:
        asked: a run directory, or `auto`: `run_dir`, or else the newest run of the preset that can
            be resumed.
        preset: whose runs `auto` looks at.
        run_dir: what `--run-dir` says, if anything.

    Returns:
        The run, None where a new one is to begin; and a line for each that was passed over.

    Raises:
        ValueError: a directory is named that is no run, or two different ones are.
    """
    if asked == AUTO and run_dir is not None:
        if RunDirectory(run_dir).config.exists():
            return run_dir, ()
        return None, (f"no run to resume at {run_dir}: starting a new run",)
    if asked == AUTO:
        return _newest_resumable(preset)
    path = Path(asked)
    if run_dir is not None and run_dir != path:
        raise ValueError(f"--resume names {path} and --run-dir {run_dir}; name one run")
    return require_run(path).path, ()


def _newest_resumable(preset: str) -> tuple[Path | None, tuple[str, ...]]:
    """Return the newest run that can be resumed, or is finished: then there is nothing to do."""
    notes = []
    for _, path in numbered_runs(preset):
        reason = why_not_resumable(path, preset=preset)
        if reason is None:
            return path, tuple(notes)
        notes.append(f"passed over {path}: {reason}")
    return None, (*notes, f"no run to resume at {RUNS / preset}-NNN: starting a new run")


def why_not_resumable(path: Path, *, preset: str) -> str | None:
    """Return why a run of the preset cannot be resumed at `path`; None: it can.

    Without a valid checkpoint it starts at step 0.
    """
    run = RunDirectory(path)
    if not path.is_dir():
        return "it is a broken link" if path.is_symlink() and not path.exists() else "it is a file"
    if not run.config.exists():
        return "it has no config.toml, so it never became a run"
    try:
        config = load_config(run.config)
        if config.preset != preset:
            return f"it is a run of the preset {config.preset}"
        if run.data.exists():
            read_json(run.data)
        holder = lock_holder(run.lock)
        if holder is not None:
            return f"it is in use by {holder}"
        checkpoint, _ = newest_checkpoint(run.path)
        if checkpoint is not None:
            require_same_model(checkpoint, config)
            LoopState.from_checkpoint(checkpoint)
        if run.sittings.exists():
            read_sittings(run.sittings)
        return None
    except (ValueError, OSError) as error:
        return str(error)
