"""Run the whole pipeline for one configuration: prepare, build, train, report.

Stage: all of them, in order. Not here: argv (`cli.py`), the steps themselves (`loop.py`).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from accounting import training_flops
from trainer.checkpoint import load_into, newest_checkpoint
from trainer.config import RunConfig
from trainer.devices import device_name, resolve_device, resolve_dtype
from trainer.interrupts import StopRequest
from trainer.loop import LoopState, Session, run_steps
from trainer.metrics import MetricsLog
from trainer.model import build_model, model_shape
from trainer.prepare import PreparedData, prepare
from trainer.presets import config_to_toml
from trainer.progress import Reporter
from trainer.run_directory import (
    RunDirectory,
    create_run,
    require_run,
    require_same_data,
    write_json_atomically,
    write_text_atomically,
)
from trainer.step import build_optimizer
from trainer.summary import Summary, summarize
from trainer.throughput import Throughput


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a sitting of a run ended."""

    run: RunDirectory
    step: int
    """Updates made so far."""
    summary: Summary | None
    """The final report; None: the run was interrupted and can be resumed."""
    exit_signal: int | None = None
    """The signal that interrupted it."""


def train(
    config: RunConfig, run_dir: Path, *, resume: bool = False, reporter: Reporter | None = None
) -> RunResult:
    """Train the model that `config` describes and leave everything in `run_dir`.

    Args:
        config: the complete configuration.
        run_dir: must not exist, unless `resume`.
        resume: go on from the newest valid checkpoint in `run_dir`, or from step 0 without one.
        reporter: where progress goes; None: to stderr.

    Returns:
        The final report, or where the run was interrupted.

    Raises:
        ValueError: unusable text, an unusable device, an existing run directory, a checkpoint of
            another model, text that changed since the run began, or a loss that diverged.
    """
    reporter = reporter or Reporter()
    if not resume and run_dir.exists():
        create_run(run_dir)  # raises: refuse before any work is done
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.dtype, device)
    data = prepare(config, reporter=reporter)
    _require_windows(data, config)
    run = require_run(run_dir) if resume else create_run(run_dir)
    _record_inputs(run, config, data, resume=resume)
    session = _build_session(
        run=run, config=config, data=data, device=device, dtype=dtype, reporter=reporter
    )
    _announce(session)
    if resume:
        _restore(session)
    finished = _finished_summary(session)
    if finished is not None:
        reporter.say(f"{run.path} is finished: {finished.step:,} steps; nothing to do")
        return RunResult(run, finished.step, finished)
    with StopRequest() as stop:
        run_steps(session, stop)
    if stop.signal is not None and not session.is_finished():
        return RunResult(run, session.state.step, None, int(stop.signal))
    return RunResult(run, session.state.step, summarize(session))


def _require_windows(data: PreparedData, config: RunConfig) -> None:
    needed = config.model.context_length + 1
    for name, file in (("training", data.train), ("validation", data.validation)):
        if len(file.tokens) < needed:
            raise ValueError(
                f"the {name} text is {len(file.tokens):,} tokens, but model.context-length "
                f"{config.model.context_length} needs at least {needed:,}; shorten the context or "
                "give more text"
            )


def _record_inputs(
    run: RunDirectory, config: RunConfig, data: PreparedData, *, resume: bool
) -> None:
    """Save configuration, tokenizer and hashes; on resume, insist on the same data."""
    if resume and run.data.exists():
        require_same_data(run, data.hashes())
    write_text_atomically(run.config, config_to_toml(config))
    write_json_atomically(run.data, {"format": "run-data", "version": 1, **data.hashes()})
    if not run.tokenizer.exists():
        beside = run.path / "tokenizer.tmp"
        shutil.rmtree(beside, ignore_errors=True)
        data.tokenizer.save(beside)
        beside.rename(run.tokenizer)


def _build_session(
    *,
    run: RunDirectory,
    config: RunConfig,
    data: PreparedData,
    device: torch.device,
    dtype: torch.dtype,
    reporter: Reporter,
) -> Session:
    vocab_size = data.tokenizer.vocab_size
    model = build_model(config, vocab_size=vocab_size, device=device)
    per_token = training_flops(model_shape(config, vocab_size=vocab_size), num_tokens=1)
    return Session(
        config=config,
        run=run,
        data=data,
        model=model,
        optimizer=build_optimizer(model, config.optimizer),
        device=device,
        dtype=dtype,
        metrics=MetricsLog(run.metrics),
        throughput=Throughput(flops_per_token=per_token, device=device, dtype=dtype),
        reporter=reporter,
    )


def _announce(session: Session) -> None:
    config, say = session.config, session.reporter.say
    parameters = sum(parameter.numel() for parameter in session.model.parameters())
    say(f"run directory: {session.run.path}")
    say(
        f"model: {parameters:,} parameters, vocabulary {session.tokenizer.vocab_size:,}; "
        f"{device_name(session.device)}, {str(session.dtype).removeprefix('torch.')}"
    )
    say(
        f"training: {config.training.max_steps:,} steps of {config.tokens_per_step:,} tokens = "
        f"{config.total_tokens:,} tokens, "
        f"{config.total_tokens / len(session.data.train.tokens):.2f} times the training text"
    )
    if config.schedule.warmup_steps >= config.schedule_steps:
        say(
            f"the run ends inside its warm-up of {config.schedule.warmup_steps:,} steps: "
            "the learning rate never reaches its peak"
        )


def _restore(session: Session) -> None:
    checkpoint, skipped = newest_checkpoint(session.run.path)
    for reason in skipped:
        session.reporter.say(f"skipped {reason}")
    if checkpoint is None:
        session.reporter.say(f"{session.run.path} has no valid checkpoint: starting at step 0")
        session.metrics.truncate_after(0)
        return
    session.state = LoopState(**load_into(checkpoint, session.model, session.optimizer))
    session.metrics.truncate_after(session.state.step)
    session.reporter.say(f"resuming at step {session.state.step:,} from {checkpoint.path}")


def _finished_summary(session: Session) -> Summary | None:
    """Return the report of a run with nothing left to do."""
    if not (session.is_finished() and session.run.summary.exists()):
        return None
    summary = Summary.load(session.run.summary)
    return summary if summary.step == session.state.step else None
