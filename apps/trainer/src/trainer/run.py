"""Run the whole pipeline for one configuration: prepare, build, train, report.

Stage: all of them, in order. Not here: argv (`cli.py`), the steps themselves (`loop.py`).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from accounting import training_flops
from accounting.plural import agree, plural
from tokenizer import Tokenizer
from trainer.checkpoint.run_checkpoint import Checkpoint, load_into, newest_checkpoint
from trainer.command_hints import command
from trainer.config.presets import config_to_toml, flat_settings, load_config
from trainer.config.resumable import require_resumable
from trainer.config.run_config import RunConfig
from trainer.data.preparation import PreparedData
from trainer.data.relocation import DIRECTORY, find_places, with_absolute_paths
from trainer.inference.trained_run import require_same_model
from trainer.monitoring.metrics import MetricsLog
from trainer.monitoring.progress import Reporter
from trainer.monitoring.throughput import Throughput
from trainer.plan.compute import ComputePlan
from trainer.plan.cpu_settings import cpu_settings
from trainer.plan.devices import (
    deterministic_operations,
    device_name,
    plain_modes,
    resolve_device,
)
from trainer.plan.estimate import announce_expectation, expect_run
from trainer.plan.model import build_model
from trainer.plan.shape import model_shape
from trainer.run_inputs import prepare_run
from trainer.storage.durable import TEMPORARY, remove, rename_durably
from trainer.storage.run_directory import (
    RunDirectory,
    hold_new_run,
    hold_run,
    require_free,
    require_run,
    write_json_atomically,
    write_text_atomically,
)
from trainer.summary import Summary, summarize
from trainer.tracking import Tracking
from trainer.training.interrupts import StopRequest
from trainer.training.loop import LoopState, OnEvaluation, OnRow, Session, run_steps
from trainer.training.profiling import FIRST_STEP, LAST_STEP, ProfilingStepper, measure_floors
from trainer.training.sittings import describe_changes, describe_sitting, record_sitting
from trainer.training.step import build_stepper


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a sitting of a run ended."""

    run: RunDirectory
    step: int
    """Updates made so far."""
    summary: Summary | None
    """The final report; None: the run was interrupted or given up, and can be resumed."""
    is_given_up: bool = False
    """Whether `on_evaluation` or `on_row` ended it."""
    exit_signal: int | None = None
    """The signal that interrupted it; None: none did, though its deadline may have."""


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
    """Train the model that `config` describes and leave everything in `run_dir`.

    Args:
        config: the complete configuration.
        run_dir: must not exist, unless `resume`; None: the next `runs/<preset>-NNN`.
        resume: go on from the newest valid checkpoint in `run_dir`, or from step 0 without one.
        reporter: where progress goes; None: to stderr.
        on_evaluation: told state and validation loss; False gives the run up, with a checkpoint.
        profile: record a few early steps; see `profiling.py`.
        deadline: when to save and stop as if by a signal, seconds of `time.monotonic`.
        on_row: told each row of metrics.jsonl; False gives the run up, likewise.

    Returns:
        The final report, or where the run was interrupted.

    Raises:
        ValueError: unusable text, an unusable device, an existing run directory, a checkpoint of
            another model, text that changed since the run began, or (`DivergedError`) a loss that
            is no longer a finite number.
    """
    config = with_absolute_paths(config)
    run_dir = None if run_dir is None else Path(run_dir)
    reporter = reporter or Reporter()
    how = _Sitting(on_evaluation, profile, deadline, on_row)
    say = reporter.say
    if resume:
        if run_dir is None:
            raise ValueError("run_dir is None, but must name the run to resume")
        run = require_run(run_dir)
        with hold_run(run, say=say), _way_on(run, say=say):
            return _resume(run, config, reporter, how)
    if run_dir is not None:
        require_free(run_dir)
    _require_profile(how, num_steps=config.num_steps)
    plan, data = prepare_run(config, reporter=reporter)
    with hold_new_run(run_dir, preset=config.preset, say=say) as run, _way_on(run, say=say):
        session = _build_session(run, config, data, plan, reporter)
        return _sit(session, plan, how)


@contextmanager
def _way_on(run: RunDirectory, *, say: Callable[[str], None]) -> Iterator[None]:
    """Say how to go on where an interrupt comes outside of the training steps."""
    try:
        yield
    except KeyboardInterrupt:
        if run.config.exists():
            say(f"go on with: {command('train', '--resume', run.path)}")
        raise


@dataclass(frozen=True, slots=True)
class _Sitting:
    """What `train` was asked for that is no matter of the run."""

    on_evaluation: OnEvaluation | None
    profile: bool
    deadline: float | None
    on_row: OnRow | None


def _resume(run: RunDirectory, config: RunConfig, reporter: Reporter, how: _Sitting) -> RunResult:
    saved = load_config(run.config)
    require_resumable(saved, config, run_dir=run.path)
    checkpoint = _newest_checkpoint(run, reporter)
    summary = _finished_summary(run, config, checkpoint, reporter)
    if summary is not None:
        reporter.say(f"{run.path} is finished: {plural(summary.step, 'step')}; nothing to do")
        return RunResult(run, summary.step, summary)
    if checkpoint is not None and checkpoint.step > config.num_steps:
        raise ValueError(
            f"training.max-steps ends the run at step {config.num_steps:,}, but {run.path} has "
            f"made {checkpoint.step:,}; give at least as many, or start a new run"
        )
    if saved.schedule_steps != config.schedule_steps:
        reporter.say(
            f"the schedule ends at step {config.schedule_steps:,} now, and not at "
            f"{saved.schedule_steps:,}: the rates of the steps made so far stay as they were"
        )
    done = 0 if checkpoint is None else checkpoint.step
    _require_profile(how, num_steps=config.num_steps - done)
    config = find_places(run, config, say=reporter.say)
    plan, data = prepare_run(config, reporter=reporter, begun=run)
    session = _build_session(run, config, data, plan, reporter)
    _restore(session, checkpoint)
    return _sit(session, plan, how)


def _sit(session: Session, plan: ComputePlan, how: _Sitting) -> RunResult:
    """Train from where the run is to its end, or until it is interrupted."""
    session.on_evaluation, session.on_row = how.on_evaluation, how.on_row
    _record_inputs(session)
    _announce(session, plan)
    _record_sitting(session, plan)
    if how.profile:
        session.stepper = _profiled(session)
    with closing(session.tracking):
        session.tracking.open(session.state.step)  # before memory is watched
        return _train(session, plan, deadline=how.deadline)


def _train(session: Session, plan: ComputePlan, *, deadline: float | None) -> RunResult:
    run, config = session.run, session.config
    session.expectation = expect_run(
        config,
        session.model,
        session.optimizer,
        plan=plan,
        device=session.device,
        validation_tokens=len(session.data.validation.tokens[: config.evaluation.final_tokens]),
    )
    announce_expectation(session.expectation, is_compiled=plan.compile, say=session.reporter.say)
    ordered = deterministic_operations(session.device, is_asked=config.deterministic)
    with cpu_settings(session.device, say=session.reporter.say), ordered:
        with StopRequest(deadline=deadline) as stop:
            run_steps(session, stop)
        if stop.signal is not None and not session.is_finished():
            return RunResult(run, session.state.step, None, exit_signal=int(stop.signal))
        if session.is_given_up:
            return RunResult(run, session.state.step, None, is_given_up=True)
        if not session.is_finished():
            return RunResult(run, session.state.step, None)
        summary = summarize(session)
        bits = summary.comparisons[0].bits_per_byte
        session.tracking.close({"validation_loss": summary.validation_loss, "bits_per_byte": bits})
        return RunResult(run, session.state.step, summary)


def _record_inputs(session: Session) -> None:
    """Save tokenizer, hashes and, last since it makes the directory a run, the configuration."""
    run = session.run
    _copy_tokenizer(run, session.data, session.reporter)
    document = {"format": "run-data", "version": 1, **session.data.hashes()}
    write_json_atomically(run.data, {**document, DIRECTORY: str(run.path.absolute())})
    write_text_atomically(run.config, config_to_toml(session.config))


def _record_sitting(session: Session, plan: ComputePlan) -> None:
    """Record how this sitting computes, and report where that differs from the one before."""
    path, step = session.run.sittings, session.state.step
    sitting = describe_sitting(session.config, plan, device=session.device, step=step)
    if step and not path.exists():
        session.reporter.say(f"{path} is missing: how earlier steps were computed is not known")
    for line in describe_changes(record_sitting(path, sitting)[-2:]):
        session.reporter.say(line)


def _copy_tokenizer(run: RunDirectory, data: PreparedData, reporter: Reporter) -> None:
    """Make the run directory complete by itself; a copy that was damaged is made again."""
    if run.tokenizer.exists():
        try:
            if Tokenizer.load(run.tokenizer).fingerprint == data.tokenizer.fingerprint:
                return
            reason = "it holds another tokenizer"
        except (ValueError, OSError) as error:
            reason = str(error)
        reporter.say(f"{run.tokenizer} is damaged and is copied again: {reason}")
        remove(run.tokenizer)
    beside = run.path / f"tokenizer{TEMPORARY}"
    data.tokenizer.save(beside)
    rename_durably(beside, run.tokenizer)


def _build_session(
    run: RunDirectory,
    config: RunConfig,
    data: PreparedData,
    plan: ComputePlan,
    reporter: Reporter,
) -> Session:
    device = resolve_device(config.device)
    vocab_size = data.tokenizer.vocab_size
    model = build_model(config, vocab_size=vocab_size, device=device, attention=plan.attention)
    optimizer = config.optimizer.build(model, dtype=plan.dtype)
    per_token = training_flops(model_shape(config, vocab_size=vocab_size), num_tokens=1)
    throughput = Throughput(flops_per_token=per_token, device=device, dtype=plan.dtype)
    return Session(
        config=config,
        run=run,
        data=data,
        model=model,
        optimizer=optimizer,
        stepper=build_stepper(
            model,
            optimizer,
            config=config,
            tokens=data.train.tokens,
            device=device,
            plan=plan,
            throughput=throughput,
        ),
        device=device,
        dtype=plan.dtype,
        metrics=MetricsLog(
            run.metrics,
            is_patient=config.checkpoint.on_failure == "continue",
            say=reporter.say,
        ),
        tracking=Tracking(
            config.logging.track,
            folder=run.path,
            project=config.logging.track_project or config.preset,
            settings=flat_settings(config),
            say=reporter.say,
        ),
        throughput=throughput,
        reporter=reporter,
    )


def _require_profile(how: _Sitting, *, num_steps: int) -> None:
    if how.profile and num_steps < LAST_STEP:
        raise ValueError(
            f"--profile records steps {FIRST_STEP} to {LAST_STEP} of a sitting, but {num_steps} "
            "are left; raise training.max-steps"
        )


def _profiled(session: Session) -> ProfilingStepper:
    config, model = session.config, session.model
    step = session.state.step + LAST_STEP
    tokens = config.batch_size_at(step) * config.model.context_length
    shape = model_shape(config, vocab_size=session.tokenizer.vocab_size)
    floors = partial(
        measure_floors,
        flops=training_flops(shape, num_tokens=tokens),
        num_parameters=model.num_parameters,
        device=session.device,
        dtype=session.dtype,
    )
    return ProfilingStepper(
        session.stepper,
        folder=session.run.path / "profile",
        device=session.device,
        floors=floors,
        say=session.reporter.say,
    )


def _announce(session: Session, plan: ComputePlan) -> None:
    config, say = session.config, session.reporter.say
    parameters = sum(parameter.numel() for parameter in session.model.parameters())
    say(f"run directory: {session.run.path}")
    say(
        f"model: {plural(parameters, 'parameter')}, vocabulary {session.tokenizer.vocab_size:,}; "
        f"{device_name(session.device)}, {plan.describe()}"
    )
    for note in plan.notes:
        say(note)
    say(
        f"training: {plural(config.training.max_steps, 'batch', 'batches')} of "
        f"{plural(config.tokens_per_step, 'token')} = {plural(config.total_tokens, 'token')}, "
        f"{config.total_tokens / len(session.data.train.tokens):.2f} times the training text"
    )
    for stage in config.batch_stages if config.training.batch_ramp else ():
        tokens = stage.first_window * config.model.context_length
        say(
            f"batch ramp: {plural(stage.batch_size, 'window')} a step from step "
            f"{stage.first_step + 1:,} on, after {plural(tokens, 'token')}"
        )
    if config.schedule.warmup_steps >= config.schedule_steps:
        say(
            f"the run ends inside its warm-up of {plural(config.schedule.warmup_steps, 'step')}: "
            "the learning rate never reaches its peak"
        )


def _newest_checkpoint(run: RunDirectory, reporter: Reporter) -> Checkpoint | None:
    checkpoint, skipped = newest_checkpoint(run.path)
    for reason in skipped:
        reporter.say(f"skipped {reason}")
    return checkpoint


def _restore(session: Session, checkpoint: Checkpoint | None) -> None:
    if checkpoint is None:
        session.reporter.say(f"{session.run.path} has no valid checkpoint: starting at step 0")
        _cut_metrics(session, 0)
        return
    session.state = LoopState.from_checkpoint(checkpoint)
    require_same_model(checkpoint, session.config)
    load_into(checkpoint, session.model, session.optimizer)
    _cut_metrics(session, session.state.step)
    session.reporter.say(f"resuming at step {session.state.step:,} from {checkpoint.path}")


def _cut_metrics(session: Session, step: int) -> None:
    damaged = session.metrics.truncate_after(step)
    if damaged:
        session.reporter.say(
            f"dropped {plural(damaged, 'line')} of {session.run.metrics} that "
            f"{agree(damaged, 'is', 'are')} no metrics"
        )


def _finished_summary(
    run: RunDirectory, config: RunConfig, checkpoint: Checkpoint | None, reporter: Reporter
) -> Summary | None:
    """Return the report of a run with nothing left to do; its text need not be there any more."""
    if checkpoint is None or not run.summary.exists():
        return None
    if not LoopState.from_checkpoint(checkpoint).is_finished(config):
        return None
    try:
        summary = Summary.load(run.summary)
    except ValueError as error:
        reporter.say(f"reporting again: {error}")
        return None
    return summary if summary.step == checkpoint.step else None
