"""Find the run to resume, and the step at which it continues.

Stage: command line -> *run directory, checkpoint* -> train. Files are only read. Not here: what a
resumed run may change (`config/resumable.py`).
"""

from collections.abc import Callable
from pathlib import Path

from accounting.plural import plural
from trainer.checkpoint.loop_state import LoopState
from trainer.checkpoint.run_checkpoint import Checkpoint, load_into, newest_checkpoint
from trainer.checkpoint.sittings import read_sittings
from trainer.config.presets import load_config
from trainer.config.resumable import require_resumable
from trainer.config.run_config import RunConfig
from trainer.inference.trained_run import require_same_model
from trainer.storage.file_lock import lock_holder
from trainer.storage.run_directory import RUNS, RunDirectory, numbered_runs, read_json, require_run
from trainer.summary import Summary
from trainer.training.learner import Learner

AUTO = "auto"


def find_run_to_resume(
    asked: str, *, preset: str, run_dir: Path | None = None
) -> tuple[Path | None, tuple[str, ...]]:
    """Return the run directory that `--resume asked` names, and notes on the choice.

    Args:
        asked: a run directory, or `auto`: `run_dir`, or else the newest run of the preset that can
            be resumed.
        preset: the preset for `auto`.
        run_dir: the value of `--run-dir`, if any.

    Returns:
        The run, None to start a new one; and one line per skipped run.

    Raises:
        ValueError: the directory is not a run, or two different ones are named.
    """
    if asked == AUTO and run_dir is not None:
        if RunDirectory(run_dir).config.exists():
            return run_dir, ()
        return None, (f"no run to resume at {run_dir}: starting a new run",)
    if asked == AUTO:
        return _newest_resumable(preset)
    path = Path(asked)
    if run_dir is not None and run_dir != path:
        raise ValueError(f"--resume names {path}, but --run-dir names {run_dir}; name one run")
    return require_run(path).path, ()


def _newest_resumable(preset: str) -> tuple[Path | None, tuple[str, ...]]:
    """Return the newest run that is finished or can be resumed."""
    notes = []
    for _, path in numbered_runs(preset):
        reason = why_not_resumable(path, preset=preset)
        if reason is None:
            return path, tuple(notes)
        notes.append(f"skipped {path}: {reason}")
    return None, (*notes, f"no run to resume at {RUNS / preset}-NNN: starting a new run")


def why_not_resumable(path: Path, *, preset: str) -> str | None:
    """Return why `path` is not a run of the preset to resume; None: it is.

    A run without a valid checkpoint counts: it starts at step 0.
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


def find_start(
    run: RunDirectory, config: RunConfig, *, say: Callable[[str], None]
) -> tuple[Checkpoint | None, Summary | None]:
    """Return where a run continues.

    Args:
        run: the run.
        config: the requested configuration.
        say: reports skipped checkpoints and a changed schedule.

    Returns:
        The newest valid checkpoint, None to start at step 0; and the report of a finished run, None
        if steps are left.

    Raises:
        ValueError: the configuration changes what a resumed run may not, or ends before the
            checkpoint.
    """
    saved = load_config(run.config)
    require_resumable(saved, config, run_dir=run.path)
    checkpoint, skipped = newest_checkpoint(run.path)
    for reason in skipped:
        say(f"skipped {reason}")
    summary = _finished_summary(run, config, checkpoint, say=say)
    if summary is not None:
        say(f"{run.path} is finished: {plural(summary.step, 'step')}; nothing to do")
        return checkpoint, summary
    if checkpoint is not None and checkpoint.step > config.num_steps:
        raise ValueError(
            f"training.max-steps ends the run at step {config.num_steps:,}, but {run.path} is "
            f"already at step {checkpoint.step:,}; raise it, or start a new run"
        )
    if saved.schedule_steps != config.schedule_steps:
        say(
            f"the schedule now ends at step {config.schedule_steps:,} instead of "
            f"{saved.schedule_steps:,}; the steps so far used the former rates"
        )
    if checkpoint is None:
        say(f"{run.path} has no valid checkpoint: starting at step 0")
    return checkpoint, None


def restore(
    checkpoint: Checkpoint, config: RunConfig, learner: Learner, *, say: Callable[[str], None]
) -> LoopState:
    """Load a checkpoint into a learner, and return the state of the loop.

    Raises:
        ValueError: the checkpoint belongs to another model or optimizer, or is damaged.
    """
    state = LoopState.from_checkpoint(checkpoint)
    require_same_model(checkpoint, config)
    load_into(checkpoint, learner.model, learner.optimizer)
    say(f"resuming from step {state.step:,} ({checkpoint.path})")
    return state


def _finished_summary(
    run: RunDirectory,
    config: RunConfig,
    checkpoint: Checkpoint | None,
    *,
    say: Callable[[str], None],
) -> Summary | None:
    """Return the report of a finished run, whose text may be gone."""
    if checkpoint is None or not run.summary.exists():
        return None
    if not LoopState.from_checkpoint(checkpoint).is_finished(config):
        return None
    try:
        summary = Summary.load(run.summary)
    except ValueError as error:
        say(f"writing the report again: {error}")
        return None
    return summary if summary.step == checkpoint.step else None
