"""Run the optimizer steps of a run: log, save, evaluate, sample, stop when asked.

Stage: prepared data, model -> *training loop* -> checkpoints, metrics, samples. A checkpoint is
saved before the evaluation of the same step, so an evaluation that dies costs no training.
"""

import math
import time
from dataclasses import asdict, dataclass, field

import torch

from nn_layers import TransformerLM
from tokenizer import Tokenizer
from trainer.checkpoint import Checkpoint, take_snapshot
from trainer.config import RunConfig
from trainer.evaluate import evaluate_windows
from trainer.generate import generate_text
from trainer.interrupts import StopRequest
from trainer.learning_rate import learning_rate
from trainer.metrics import MetricsLog, read_metrics
from trainer.prepare import PreparedData
from trainer.presets import config_to_toml
from trainer.progress import Reporter, Stage
from trainer.run_directory import RunDirectory, write_text_atomically
from trainer.saving import CheckpointSaver
from trainer.step import Stepper, StepResult
from trainer.throughput import Throughput


@dataclass(slots=True)
class LoopState:
    """How far a run is; saved with each checkpoint."""

    step: int = 0
    """Updates made."""
    tokens: int = 0
    """Training tokens seen."""
    seconds: float = 0.0
    """Wall clock in the loop, over all sittings."""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> "LoopState":
        """Read what was saved with a checkpoint.

        Raises:
            ValueError: it is not what `save` writes.
        """
        saved = checkpoint.state
        kinds = {"step": int, "tokens": int, "seconds": float}
        is_whole = isinstance(saved, dict) and {k: type(v) for k, v in saved.items()} == kinds
        if not is_whole or saved["step"] != checkpoint.step:
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
    throughput: Throughput
    reporter: Reporter
    state: LoopState = field(default_factory=LoopState)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the data was encoded with."""
        return self.data.tokenizer

    def is_finished(self) -> bool:
        """Whether the steps or the hours are used up."""
        return self.state.is_finished(self.config)


def run_steps(session: Session, stop: StopRequest) -> None:
    """Train until the run is finished or `stop` is requested; leaves a checkpoint either way.

    Raises:
        ValueError: the loss or the gradient is no longer finite; nothing is saved from then on.
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
    clock, saved_step = _Clock(state), state.step
    while not session.is_finished() and not stop:
        result = _one_step(session)
        clock.tick()
        saver.check()
        is_last = session.is_finished()
        if is_last or state.step % config.logging.every_steps == 0:
            _log_step(session, result, stage)
            clock.tick()
        if is_last or stop or state.step % config.checkpoint.every_steps == 0:
            _require_finite(result, session)
            _save(session, saver)
            saved_step = state.step
        if not stop and _is_evaluation_due(session):
            with session.throughput.paused():
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
    with session.throughput.paused():
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
    result = session.stepper.step(step, rate)
    state.step = step
    tokens = config.batch_size_at(step) * config.model.context_length
    state.tokens += tokens
    session.throughput.add(tokens)
    return result


def _log_step(session: Session, result: StepResult, stage: Stage) -> None:
    loss = _require_finite(result, session)  # waits for the device
    state = session.state
    speed = session.throughput.measure()
    session.metrics.append(
        {
            "kind": "train",
            "step": state.step,
            "seconds": round(state.seconds, 3),
            "tokens": state.tokens,
            "loss": loss,
            "learning_rate": session.optimizer.param_groups[0]["lr"],
            "grad_norm": float(result.grad_norm),
            "tokens_per_second": round(speed.tokens_per_second, 1),
            "mfu": speed.mfu,
        }
    )
    note = f"loss {loss:.3f}  {speed.tokens_per_second:,.0f} tok/s  MFU {speed.mfu_text}"
    stage.update(state.step, note=note)


def _evaluate(session: Session, stage: Stage) -> None:
    config, state = session.config, session.state
    with session.throughput.paused():
        loss = evaluate_windows(
            session.model,
            session.data.validation.tokens,
            num_windows=config.evaluation.num_windows,
            context_length=config.model.context_length,
            batch_size=config.evaluation.batch_size,
            device=session.device,
            dtype=session.dtype,
        )
        row = {"step": state.step, "seconds": round(state.seconds, 3), "tokens": state.tokens}
        if config.evaluation.sample_tokens:
            _write_sample(session)
        # Last: a row says that the evaluation of its step is complete.
        session.metrics.append({"kind": "evaluation", **row, "loss": loss})
        stage.update(state.step, note=f"validation loss {loss:.4f}")
        session.reporter.say(f"step {state.step:,}: validation loss {loss:.4f} nats a token")


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


def _require_finite(result: StepResult, session: Session) -> float:
    loss, norm = float(result.loss), float(result.grad_norm)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise ValueError(
            f"training diverged: at step {session.state.step} the loss is {loss} and the gradient "
            f"norm {norm}; the checkpoints in {session.run.path} are from before; start again with "
            "a lower optimizer.learning-rate or a longer schedule.warmup-steps"
        )
    return loss


class _Clock:
    """Adds the wall clock since the last tick to the state."""

    def __init__(self, state: LoopState) -> None:
        self._state = state
        self._last = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        self._state.seconds += now - self._last
        self._last = now
