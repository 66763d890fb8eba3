"""Run the whole pipeline for one configuration: prepare, build, train, report.

Stage: all of them, in order; read this first. Not here: command lines (`cli/`), the steps
(`training/loop.py`), where a resumed run continues (`resuming.py`).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer.checkpoint.background import CheckpointSaver
from trainer.checkpoint.loop_state import LoopState
from trainer.checkpoint.run_checkpoint import Checkpoint
from trainer.checkpoint.sittings import describe_sitting, record_sitting
from trainer.command_hints import command
from trainer.config.run_config import RunConfig
from trainer.data.preparation import PreparedData
from trainer.data.relocation import find_places, with_absolute_paths
from trainer.monitoring.progress import Reporter
from trainer.plan.cpu_settings import cpu_settings
from trainer.plan.devices import deterministic_operations, plain_modes
from trainer.plan.estimate import announce_expectation, expect_run
from trainer.resuming import find_start, restore
from trainer.run_inputs import RunInputs, announce_run, prepare_run, record_inputs
from trainer.storage.run_directory import (
    RunDirectory,
    hold_new_run,
    hold_run,
    require_free,
    require_run,
)
from trainer.summary import Summary, summarize
from trainer.training.divergence import Health
from trainer.training.evaluator import Evaluator
from trainer.training.interrupts import StopRequest
from trainer.training.learner import build_learner
from trainer.training.loop import TrainingLoop
from trainer.training.profiling import ProfilingStepper, require_profiled_steps
from trainer.training.recorder import OnEvaluation, OnRow, Recorder


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a sitting of a run ended."""

    run: RunDirectory
    step: int
    """Updates so far."""
    summary: Summary | None
    """The final report; None: the run was interrupted or given up, and can be resumed."""
    is_given_up: bool = False
    """Whether `on_evaluation` or `on_row` ended it."""
    exit_signal: int | None = None
    """The signal that interrupted it; None: no signal, but perhaps the deadline."""


@plain_modes()
def train(
    config: RunConfig,
    run_dir: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
    on_evaluation: OnEvaluation | None = None,
    profile: bool = False,
    deadline: float | None = None,
    on_row: OnRow | None = None,
) -> RunResult:
    """Train the model that `config` describes; write everything to `run_dir`.

    Args:
        config: the complete configuration.
        run_dir: must not exist, unless `resume`; None: the next `runs/<preset>-NNN`.
        resume: continue from the newest valid checkpoint in `run_dir`, or from step 0 without one.
        reporter: shows progress; None: on stderr.
        on_evaluation: receives state and validation loss; False saves and gives the run up.
        profile: record a few early steps; see `profiling.py`.
        deadline: when to save and stop as if by a signal, in seconds of `time.monotonic`.
        on_row: receives each row of metrics.jsonl; False saves and gives the run up.

    Returns:
        The final report, or where the run was interrupted.

    Raises:
        ValueError: unusable text or device, an existing run directory, a checkpoint of another
            model, text that changed since the run began, or (`DivergedError`) a loss that is no
            longer finite.
    """
    config = with_absolute_paths(config)
    run_dir = None if run_dir is None else Path(run_dir)
    sitting = _Sitting(reporter or Reporter(), on_evaluation, on_row, deadline, profile)
    if not resume:
        return _begin(run_dir, config, sitting)
    if run_dir is None:
        raise ValueError("run_dir is None, but resuming needs a run; name its directory")
    return _resume(require_run(run_dir), config, sitting)


@dataclass(frozen=True, slots=True)
class _Sitting:
    """The arguments of one call of `train` that are not part of the run."""

    reporter: Reporter
    on_evaluation: OnEvaluation | None
    on_row: OnRow | None
    deadline: float | None
    is_profiled: bool


def _begin(run_dir: Path | None, config: RunConfig, sitting: _Sitting) -> RunResult:
    """Start a new run; its directory is created once its text is known to be usable."""
    if run_dir is not None:
        require_free(run_dir)
    if sitting.is_profiled:
        require_profiled_steps(config.num_steps)
    inputs = prepare_run(config, reporter=sitting.reporter)
    say = sitting.reporter.say
    with hold_new_run(run_dir, preset=config.preset, say=say) as run, _resume_hint(run, say=say):
        return _run(run, inputs, None, sitting)


def _resume(run: RunDirectory, config: RunConfig, sitting: _Sitting) -> RunResult:
    """Continue a run, unless it is finished."""
    say = sitting.reporter.say
    with hold_run(run, say=say), _resume_hint(run, say=say):
        checkpoint, summary = find_start(run, config, say=say)
        if summary is not None:
            return RunResult(run, summary.step, summary)
        if sitting.is_profiled:
            require_profiled_steps(config.num_steps - (checkpoint.step if checkpoint else 0))
        config = find_places(run, config, say=say)
        inputs = prepare_run(config, reporter=sitting.reporter, begun=run)
        return _run(run, inputs, checkpoint, sitting)


@contextmanager
def _resume_hint(run: RunDirectory, *, say: Callable[[str], None]) -> Iterator[None]:
    """Report how to resume after an interrupt outside the training steps."""
    try:
        yield
    except KeyboardInterrupt:
        if run.config.exists():
            say(f"resume with: {command('train', '--resume', run.path)}")
        raise


def _run(
    run: RunDirectory, inputs: RunInputs, checkpoint: Checkpoint | None, sitting: _Sitting
) -> RunResult:
    """Build the model, restore the checkpoint, record how the sitting computes, and train."""
    config, plan, data, say = inputs.config, inputs.plan, inputs.data, sitting.reporter.say
    learner = build_learner(config, plan, data)
    recorder = Recorder(
        run, config, say=say, on_row=sitting.on_row, on_evaluation=sitting.on_evaluation
    )
    state = restore(checkpoint, config, learner, say=say) if checkpoint else LoopState()
    record_inputs(run, inputs, say=say)
    announce_run(run, inputs, learner.model, say=say)
    how = describe_sitting(config, plan, device=learner.device, step=state.step)
    record_sitting(run.sittings, how, say=say)
    if sitting.is_profiled:
        learner.stepper = ProfilingStepper(run, config, learner, say=say)
    evaluator = Evaluator(run, config, data, learner, sitting.reporter)
    saver = CheckpointSaver(
        run.path, keep=config.checkpoint.keep, on_failure=config.checkpoint.on_failure, say=say
    )
    health = Health(run, config, data, learner, state, say=say)
    loop = TrainingLoop(
        config, learner, state, evaluator, recorder, saver, health, sitting.reporter
    )
    with closing(recorder):
        recorder.open(state.step)  # before memory is measured
        return _train(run, data, loop, deadline=sitting.deadline)


def _train(
    run: RunDirectory, data: PreparedData, loop: TrainingLoop, *, deadline: float | None
) -> RunResult:
    """Train to the end and report, or until the run is interrupted or given up."""
    config, learner, state, say = loop.config, loop.learner, loop.state, loop.reporter.say
    expectation = expect_run(
        config,
        learner.model,
        learner.optimizer,
        plan=learner.plan,
        device=learner.device,
        validation_tokens=len(data.validation.tokens[: config.evaluation.final_tokens]),
    )
    announce_expectation(expectation, is_compiled=learner.plan.compile, say=say)
    if expectation.watch is not None:
        learner.watch_memory(expectation.watch, config)
    ordered = deterministic_operations(learner.device, is_asked=config.deterministic)
    with cpu_settings(learner.device, say=say), ordered:
        with StopRequest(deadline=deadline) as stop:
            loop.run(stop)
        if stop.signal is not None and not loop.is_finished:
            return RunResult(run, state.step, None, exit_signal=int(stop.signal))
        if loop.is_given_up or not loop.is_finished:
            return RunResult(run, state.step, None, is_given_up=loop.is_given_up)
        summary = summarize(run, data, loop, expectation)
        bits = summary.comparisons[0].bits_per_byte
        loop.recorder.close({"validation_loss": summary.validation_loss, "bits_per_byte": bits})
        return RunResult(run, state.step, summary)
