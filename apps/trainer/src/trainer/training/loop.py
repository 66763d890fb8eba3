"""Take the optimizer steps of a run; log, save and evaluate as they fall due.

Stage: prepared data, model -> *training loop* -> checkpoints, metrics, samples. A checkpoint is
saved before the evaluation of the same step, so an evaluation that dies costs no training. Not
here: one step (`step.py`), and losses that are not finite (`divergence.py`).
"""

import time
from dataclasses import asdict, dataclass, field

from trainer.checkpoint.background import CheckpointSaver
from trainer.checkpoint.loop_state import LoopState
from trainer.checkpoint.run_checkpoint import take_snapshot
from trainer.config.presets import config_to_toml
from trainer.config.run_config import RunConfig
from trainer.monitoring.progress import Reporter, Stage
from trainer.plan.learning_rate import learning_rate
from trainer.training.divergence import Health
from trainer.training.evaluator import Evaluator
from trainer.training.interrupts import StopRequest
from trainer.training.learner import Learner
from trainer.training.recorder import Recorder
from trainer.training.step import StepResult


@dataclass(slots=True)
class TrainingLoop:
    """The steps of one sitting of a run, and what falls due between them."""

    config: RunConfig
    learner: Learner
    state: LoopState
    evaluator: Evaluator
    recorder: Recorder
    saver: CheckpointSaver
    health: Health
    reporter: Reporter
    is_given_up: bool = field(default=False, init=False)
    """Whether a watcher of the run found it not worth continuing."""
    _last_tick: float = field(default=0.0, init=False)

    @property
    def is_finished(self) -> bool:
        """Whether the steps or the hours are used up."""
        return self.state.is_finished(self.config)

    def run(self, stop: StopRequest) -> None:
        """Train until the run is finished or `stop` is requested; leaves a checkpoint either way.

        Raises:
            DivergedError: loss or gradient were not finite more than `training.max_skipped_steps`
                times in a row, or when the run ended.
            SaveError: a checkpoint could not be saved, and `checkpoint.on-failure` is stop.
        """
        self.learner.model.train()
        total = self.config.num_steps
        with self.reporter.stage("train", total=total, unit="steps") as stage, self.saver:
            if self._is_evaluation_missing() and not stop:
                self._evaluate(stage)
            saved_step = self._take_steps(stop, stage)
            if saved_step != self.state.step:
                self._save()

    def _take_steps(self, stop: StopRequest, stage: Stage) -> int:
        """Return the step of the last checkpoint."""
        state, config = self.state, self.config
        saved_step, is_save_due, self._last_tick = state.step, False, time.monotonic()
        while not (self.is_finished or self.is_given_up or stop):
            result = self._take_step()
            self._count_seconds()
            self.saver.check()
            is_last = self.is_finished
            is_log_due = is_last or state.step % config.logging.every_steps == 0
            is_save_due |= is_last or bool(stop) or state.step % config.checkpoint.every_steps == 0
            is_sound = self.health.check(result, now=is_log_due or is_save_due, is_last=is_last)
            if is_log_due:
                self._log(result, stage)
                self._count_seconds()
            if is_save_due and (is_sound or is_last or stop):
                self._save()
                saved_step, is_save_due = state.step, False
            if not stop and self._is_evaluation_due():
                with self.learner.throughput.paused("checkpoint"):
                    self.saver.finish()
                self._evaluate(stage)
            self._count_seconds()
        return saved_step

    def _take_step(self) -> StepResult:
        state, config = self.state, self.config
        step = state.step + 1
        rate = learning_rate(config, step, training_seconds=state.seconds)
        result = self.learner.stepper.step(step, rate)
        tokens = config.batch_size_at(step) * config.model.context_length
        state.step, state.tokens = step, state.tokens + tokens
        self.learner.throughput.add(tokens)
        return result

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.state.seconds += now - self._last_tick
        self._last_tick = now

    def _log(self, result: StepResult, stage: Stage) -> None:
        loss = float(result.loss)  # waits for the step
        with self.learner.throughput.booked("logging"):
            speed = self.learner.throughput.measure()
            self.is_given_up |= not self.recorder.record(
                "train",
                self.state,
                loss,
                learning_rate=self.learner.optimizer.param_groups[0]["lr"],
                grad_norm=float(result.grad_norm),
                speed=speed,
            )
            note = f"loss {loss:.3f}  {speed.tokens_per_second:,.0f} tok/s  MFU {speed.mfu_text}"
            stage.update(self.state.step, note=note)
        self.health.log(loss)

    def _save(self) -> None:
        """Save a copy of model and optimizer in the background."""
        with self.learner.throughput.paused("checkpoint"):
            self.saver.finish()
            self.saver.start(
                take_snapshot(
                    step=self.state.step,
                    model=self.learner.model,
                    optimizer=self.learner.optimizer,
                    state=asdict(self.state),
                    config_toml=config_to_toml(self.config),
                )
            )

    def _evaluate(self, stage: Stage) -> None:
        step = self.state.step
        with self.learner.throughput.paused("evaluation"):
            loss = self.evaluator.validation_loss()
            self.evaluator.write_sample(step)
            # Last: the row marks the evaluation of its step as complete.
            self.is_given_up |= not self.recorder.record("evaluation", self.state, loss)
            stage.update(step, note=f"validation loss {loss:.4f}")
            self.reporter.say(f"step {step:,}: validation loss {loss:.4f} nats per token")

    def _is_evaluation_due(self) -> bool:
        return self.is_finished or self.state.step % self.config.evaluation.every_steps == 0

    def _is_evaluation_missing(self) -> bool:
        """Whether the process that saved the checkpoint died before it evaluated the same step."""
        step = self.state.step
        return step > 0 and self._is_evaluation_due() and not self.recorder.has_evaluation(step)
