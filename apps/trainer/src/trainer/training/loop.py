"""Run the optimizer steps of a run: log, save, evaluate, sample, stop when asked.

Stage: prepared data, model -> *training loop* -> checkpoints, metrics, samples. A checkpoint is
saved before the evaluation of the same step, so an evaluation that dies costs no training.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace

import torch

from accounting.plural import plural
from nn_layers import TransformerLM
from tokenizer import Tokenizer
from trainer.checkpoint.background import CheckpointSaver
from trainer.checkpoint.run_checkpoint import Checkpoint, take_snapshot
from trainer.config.presets import config_to_toml
from trainer.config.run_config import RunConfig
from trainer.data.preparation import PreparedData
from trainer.evaluation.loss import evaluate_windows
from trainer.inference.generation import generate_text
from trainer.monitoring.metrics import MetricsLog, MetricsRow, read_metrics
from trainer.monitoring.progress import Reporter, Stage
from trainer.monitoring.throughput import Throughput
from trainer.plan.compute import plan_compute
from trainer.plan.estimate import Expectation
from trainer.plan.learning_rate import learning_rate
from trainer.plan.tensor_memory import TensorWatch
from trainer.storage.run_directory import RunDirectory, write_text_atomically
from trainer.tracking import Tracking
from trainer.training.divergence import LossSpikes, SkippedSteps, find_not_finite
from trainer.training.interrupts import StopRequest
from trainer.training.step import Stepper, StepResult, build_loss, host_windows, micro_batches


class DivergedError(ValueError):
    """The loss or the gradient is no longer a finite number."""


@dataclass(slots=True)
class LoopState:
    """How far a run is; saved with each checkpoint."""

    step: int = 0
    """Updates made."""
    tokens: int = 0
    """Training tokens seen."""
    seconds: float = 0.0
    """Wall clock in the loop, over all sittings."""
    skipped: int = 0
    """Steps that made no update, since loss or gradient were not finite."""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> "LoopState":
        """Read what was saved with a checkpoint.

        Raises:
            ValueError: it is not what `save` writes.
        """
        saved = checkpoint.state
        kinds = {"step": int, "tokens": int, "seconds": float, "skipped": int}
        is_whole = isinstance(saved, dict) and {k: type(v) for k, v in saved.items()} == kinds
        # A count that is below zero, or is no number, would show much later if at all.
        is_sane = is_whole and all(0 <= value < float("inf") for value in saved.values())
        if not is_sane or saved["step"] != checkpoint.step:
            raise ValueError(
                f"{checkpoint.path / 'state.json'} holds the state {saved!r}, but step "
                f"{checkpoint.step} with its tokens and seconds is needed; remove "
                f"{checkpoint.path} to go on from the checkpoint before"
            )
        return cls(**saved)

    def is_finished(self, config: RunConfig) -> bool:
        """Whether the steps or the hours are used up."""
        hours = config.training.max_hours
        out_of_time = hours is not None and self.seconds >= 3600 * hours
        return self.step >= config.num_steps or out_of_time


OnEvaluation = Callable[[LoopState, float], bool]
"""Told how far the run is and its validation loss, nats a token; says whether to go on with it."""
OnRow = Callable[[MetricsRow], bool]
"""Told each row of metrics.jsonl once it is there; says whether to go on with the run."""


@dataclass(slots=True)
class Session:
    """All that one sitting of a run works with."""

    config: RunConfig
    run: RunDirectory
    data: PreparedData
    model: TransformerLM
    optimizer: torch.optim.Optimizer
    stepper: Stepper
    device: torch.device
    dtype: torch.dtype
    metrics: MetricsLog
    tracking: Tracking
    throughput: Throughput
    reporter: Reporter
    state: LoopState = field(default_factory=LoopState)
    on_evaluation: OnEvaluation | None = None
    """None: every run is worth going on with."""
    on_row: OnRow | None = None
    """Likewise."""
    is_given_up: bool = False
    """Whether one of the two said that it is not."""
    expectation: Expectation | None = None
    """What was predicted before the first step of this sitting."""

    @property
    def watch(self) -> TensorWatch | None:
        """What measures the tensors of this sitting, beside what was predicted."""
        return None if self.expectation is None else self.expectation.watch

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the data was encoded with."""
        return self.data.tokenizer

    def is_finished(self) -> bool:
        """Whether the steps or the hours are used up."""
        return self.state.is_finished(self.config)

    def record(self, row: MetricsRow) -> None:
        """Keep a row of metrics, then show it."""
        self.metrics.append(row)
        self.tracking.log(row)
        if self.on_row is not None and not self.on_row(row):
            self.is_given_up = True

    def judge(self, loss: float) -> None:
        """Give the run up where whoever watches its evaluations says so."""
        if self.on_evaluation is not None and not self.is_finished():
            self.is_given_up |= not self.on_evaluation(self.state, loss)


def run_steps(session: Session, stop: StopRequest) -> None:
    """Train until the run is finished or `stop` is requested; leaves a checkpoint either way.

    Raises:
        DivergedError: loss or gradient were not finite more than `training.max_skipped_steps` times
            in a row, or when the run ended.
        SaveError: a checkpoint could not be saved, and `checkpoint.on-failure` is stop.
    """
    config = session.config
    session.model.train()
    total = config.num_steps
    with (
        session.reporter.stage("train", total=total, unit="steps") as stage,
        CheckpointSaver(
            session.run.path,
            keep=config.checkpoint.keep,
            on_failure=config.checkpoint.on_failure,
            say=session.reporter.say,
        ) as saver,
    ):
        if _is_evaluation_missing(session) and not stop:
            _evaluate(session, stage)
        saved_step = _run_steps(session, stop, stage, saver)
        if saved_step != session.state.step:
            _save(session, saver)


def _run_steps(session: Session, stop: StopRequest, stage: Stage, saver: CheckpointSaver) -> int:
    """Return the step of the last checkpoint."""
    state, config = session.state, session.config
    clock, saved_step, is_save_due = _Clock(state), state.step, False
    health = _Health(session)
    while not (session.is_finished() or session.is_given_up or stop):
        result = _one_step(session)
        clock.tick()
        saver.check()
        is_last = session.is_finished()
        is_log_due = is_last or state.step % config.logging.every_steps == 0
        is_save_due |= is_last or bool(stop) or state.step % config.checkpoint.every_steps == 0
        is_sound = health.check(result, now=is_log_due or is_save_due, is_last=is_last)
        if is_log_due:
            _log_step(session, result, stage)
            health.log(float(result.loss))
            clock.tick()
        if is_save_due and (is_sound or is_last or stop):
            _save(session, saver)
            saved_step, is_save_due = state.step, False
        if not stop and _is_evaluation_due(session):
            with session.throughput.paused("checkpoint"):
                saver.finish()  # an evaluation that dies costs no training
            _evaluate(session, stage)
        clock.tick()
    return saved_step


def _is_evaluation_due(session: Session) -> bool:
    return session.is_finished() or session.state.step % session.config.evaluation.every_steps == 0


def _is_evaluation_missing(session: Session) -> bool:
    """Whether the process that saved the checkpoint died before it evaluated the same step."""
    step = session.state.step
    if step == 0 or not _is_evaluation_due(session):
        return False
    rows = read_metrics(session.run.metrics) if session.run.metrics.exists() else []
    return not any(row["kind"] == "evaluation" and row["step"] == step for row in rows)


def _save(session: Session, saver: CheckpointSaver) -> None:
    """Save a copy of the session, which goes on while it is written."""
    with session.throughput.paused("checkpoint"):
        saver.finish()
        saver.start(
            take_snapshot(
                step=session.state.step,
                model=session.model,
                optimizer=session.optimizer,
                state=asdict(session.state),
                config_toml=config_to_toml(session.config),
            )
        )


def _one_step(session: Session) -> StepResult:
    state, config = session.state, session.config
    step = state.step + 1
    rate = learning_rate(config, step, training_seconds=state.seconds)
    with _watched_step(session, step):
        result = session.stepper.step(step, rate)
    state.step = step
    tokens = config.batch_size_at(step) * config.model.context_length
    state.tokens += tokens
    session.throughput.add(tokens)
    return result


def _watched_step(session: Session, step: int) -> AbstractContextManager[None]:
    """Return what measures the tensors of a step, if that is asked for."""
    watch, config = session.watch, session.config
    if watch is None:
        return nullcontext()
    return watch.step(is_full=config.batch_size_at(step) == config.training.batch_size)


def _log_step(session: Session, result: StepResult, stage: Stage) -> None:
    loss = float(result.loss)  # waits for the device
    with session.throughput.booked("logging"):
        _write_row(session, loss, float(result.grad_norm), stage)


def _write_row(session: Session, loss: float, grad_norm: float, stage: Stage) -> None:
    state = session.state
    speed = session.throughput.measure()
    session.record(
        {
            "kind": "train",
            "step": state.step,
            "seconds": round(state.seconds, 3),
            "tokens": state.tokens,
            "loss": loss,
            "learning_rate": session.optimizer.param_groups[0]["lr"],
            "grad_norm": grad_norm,
            "tokens_per_second": round(speed.tokens_per_second, 1),
            "mfu": speed.mfu,
        }
    )
    note = f"loss {loss:.3f}  {speed.tokens_per_second:,.0f} tok/s  MFU {speed.mfu_text}"
    stage.update(state.step, note=note)


def _evaluate(session: Session, stage: Stage) -> None:
    config, state = session.config, session.state
    with session.throughput.paused("evaluation"):
        loss = evaluate_windows(
            session.model,
            session.data.validation.tokens,
            num_windows=config.evaluation.num_windows,
            context_length=config.model.context_length,
            batch_size=config.evaluation.batch_size,
            device=session.device,
            dtype=session.dtype,
            around_first=None if session.watch is None else session.watch.evaluation("evaluation"),
        )
        row = {"step": state.step, "seconds": round(state.seconds, 3), "tokens": state.tokens}
        if config.evaluation.sample_tokens:
            _write_sample(session)
        # Last: a row says that the evaluation of its step is complete.
        session.record({"kind": "evaluation", **row, "loss": loss})
        stage.update(state.step, note=f"validation loss {loss:.4f}")
        session.reporter.say(f"step {state.step:,}: validation loss {loss:.4f} nats a token")
    session.judge(loss)


def _write_sample(session: Session) -> None:
    try:
        write_text_atomically(session.run.sample(session.state.step), sample_text(session))
    except OSError as error:
        if session.config.checkpoint.on_failure == "stop":
            raise
        session.reporter.say(f"a sample could not be written: {error}")


def sample_text(session: Session) -> str:
    """Return prompt and continuation, drawn by the run's seed."""
    settings = session.config.evaluation
    pieces = generate_text(
        session.model,
        session.tokenizer,
        settings.sample_prompt,
        max_tokens=settings.sample_tokens,
        temperature=settings.sample_temperature,
        top_p=settings.sample_top_p,
        seed=session.config.seed,
    )
    return settings.sample_prompt + "".join(pieces)


class _Health:
    """Watches a sitting for steps without an update and for losses that leap."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._skipped = SkippedSteps(session.device)
        self._spikes = LossSpikes()
        self._skipped_before = session.state.skipped

    def check(self, result: StepResult, *, now: bool, is_last: bool) -> bool:
        """Note a step, and where asked look at it; return whether it made an update.

        Raises:
            DivergedError: there are too many without one.
        """
        session, config = self._session, self._session.config
        self._skipped.note(result.loss, result.grad_norm)
        if not now and session.device.type != "cpu":
            return True  # not known, and not worth waiting for
        in_row, in_all = self._skipped.read()
        session.state.skipped, before = self._skipped_before + in_all, session.state.skipped
        if in_row > config.training.max_skipped_steps or (in_row and is_last):
            raise DivergedError(self._describe(result, in_row))
        if session.state.skipped > before:
            session.reporter.say(
                f"step {session.state.step:,}: loss {float(result.loss)}, gradient norm "
                f"{float(result.grad_norm)}: {plural(session.state.skipped - before, 'step')} made "
                f"no update, {in_row} in a row up to now; the run stops after more than "
                f"{config.training.max_skipped_steps}"
            )
        return in_row == 0

    def log(self, loss: float) -> None:
        """Say it where a logged loss leaps out of those before."""
        height = self._spikes.height(loss)
        if height is not None:
            self._session.reporter.say(
                f"step {self._session.state.step:,}: loss {loss:.3f} is a spike, {height:.3f} "
                "above the mean of those logged before"
            )

    def _describe(self, result: StepResult, in_row: int) -> str:
        session, step = self._session, self._session.state.step
        return (
            f"training diverged: at step {step} the loss is {float(result.loss)} and the gradient "
            f"norm {float(result.grad_norm)}, {plural(in_row, 'step')} in a row; the first tensor "
            f"that is not finite is {_find_not_finite(session)}; the checkpoints in "
            f"{session.run.path} are from before; start again with {_advise(session)}"
        )


def _find_not_finite(session: Session) -> str:
    config, step = session.config, session.state.step
    windows = host_windows(session.data.train.tokens, config=config, device=session.device)
    # Without compilation: what is fused is not seen by the hooks.
    plan = replace(plan_compute(config, device=session.device), compile=False)
    return find_not_finite(
        session.model,
        (windows(step, indices) for indices in micro_batches(config, step)),
        build_loss(session.model, plan=plan, device=session.device),
    )


def _advise(session: Session) -> str:
    advice = ["a lower optimizer.learning-rate", "a longer schedule.warmup-steps"]
    if session.config.optimizer.max_grad_norm is None:
        advice.append("optimizer.max-grad-norm 1.0")
    if session.dtype != torch.float32:
        advice.append("dtype float32")
    return f"{', '.join(advice[:-1])} or {advice[-1]}"


class _Clock:
    """Adds the wall clock since the last tick to the state."""

    def __init__(self, state: LoopState) -> None:
        self._state = state
        self._last = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        self._state.seconds += now - self._last
        self._last = now
