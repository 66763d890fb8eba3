"""Run the remaining trials of a study, one after another.

Stage: study -> *runs and outcomes* -> report. A trial that diverges is a result, not a failure. Any
number of processes may share a study: each takes trials that no other is running.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from trainer.checkpoint.loop_state import LoopState
from trainer.data.preparation import PreparedData, prepare
from trainer.evaluation.loss_rise import find_rise
from trainer.experiments.lr_range import RangeWatch
from trainer.experiments.study import Outcome, Study, Trial, add_trials
from trainer.monitoring.metrics import read_readable_metrics
from trainer.monitoring.progress import Reporter
from trainer.run import train
from trainer.run_inputs import plan_run, require_windows
from trainer.storage.file_lock import InUseError, exclusive_lock
from trainer.storage.run_directory import RunDirectory
from trainer.training.divergence import DivergedError
from trainer.training.recorder import OnEvaluation

MIN_RIVALS = 3
"""Finished trials needed before any trial is given up."""
GRACE = 0.3
"""Share of the steps that every trial is granted."""

Fits = Callable[[Study, Trial], str | None]
"""Returns why a trial cannot fit in memory; None: it can, or this is unknown."""

MoreTrials = Callable[[Study], Sequence[Trial]]
"""Returns the trials that a study should have, given its outcomes so far; may repeat known ones."""


@dataclass(frozen=True, slots=True)
class StudyResult:
    """How one process left a study."""

    study: Study
    """With all its trials so far."""
    in_use: tuple[str, ...]
    """Trials that other processes are running."""
    exit_signal: int | None = None
    """The signal that interrupted it."""
    is_out_of_time: bool = False
    """Whether the time limit was reached before the last trial."""
    num_asked: int | None = None
    """Trials requested in total; None: those of the study."""

    @property
    def num_trials(self) -> int:
        """Trials in total, as far as known."""
        return max(self.num_asked or 0, len(self.study.trials))

    @property
    def num_done(self) -> int:
        """Trials with an outcome."""
        return sum(self.study.outcome(trial) is not None for trial in self.study.trials)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sitting:
    """How one process works on a study."""

    reporter: Reporter
    gives_up: bool = False
    """Whether trials that fall behind others end early."""
    fits: Fits | None = None
    """Checked before each trial; None: every trial fits."""
    deadline: float | None = None
    """Seconds of `time.monotonic`; None: no limit."""

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


class StoppedError(Exception):
    """A trial stopped without an outcome and can be resumed."""

    def __init__(self, exit_signal: int | None) -> None:
        self.exit_signal = exit_signal


def run_study(
    study: Study, sitting: Sitting | None = None, *, more: MoreTrials | None = None
) -> StudyResult:
    """Run the remaining trials of a study; without a `sitting`, with no limit.

    Whenever all trials have ended, `more` is called, until it adds none.

    Raises:
        ValueError: a trial failed for a reason other than divergence.
    """
    sitting = sitting or Sitting(reporter=Reporter())
    (study.path / "trials").mkdir(parents=True, exist_ok=True)
    while True:
        _require_runnable(study, sitting)
        result = _run_known(study, sitting)
        if more is None or result.exit_signal is not None or result.is_out_of_time:
            return result
        grown = add_trials(study, more(study))
        if len(grown.trials) == len(study.trials):
            return result
        study = grown


def _require_runnable(study: Study, sitting: Sitting) -> None:
    """Check the device, paths and text of every trial before the first one starts."""
    prepared: dict[object, PreparedData] = {}
    silent = Reporter(mode="silent")
    for trial in study.trials:
        if study.outcome(trial) is not None or sitting.is_over:
            continue
        config = study.config(trial)
        text = (config.corpus, config.tokenizer)
        try:
            if sitting.fits is not None and sitting.fits(study, trial) is not None:
                continue  # an outcome, not an error
            plan_run(config, reporter=silent if text in prepared else sitting.reporter)
            if text not in prepared:
                prepared[text] = prepare(config, reporter=sitting.reporter)
            require_windows(prepared[text], config)
        except ValueError as error:
            raise ValueError(f"trial {trial.name} cannot be run: {error}") from error


def _run_known(study: Study, sitting: Sitting) -> StudyResult:
    in_use = []
    for index, trial in enumerate(study.trials, start=1):
        if study.outcome(trial) is not None:
            continue
        if sitting.is_over:
            return StudyResult(study, tuple(in_use), is_out_of_time=True)
        sitting.reporter.say(f"trial {index} of {len(study.trials)}: {trial.name}")
        try:
            settle(study, trial, sitting)
        except InUseError as error:
            sitting.reporter.say(str(error))
            in_use.append(trial.name)
        except StoppedError as stop:
            signal = stop.exit_signal
            return StudyResult(study, tuple(in_use), signal, is_out_of_time=signal is None)
    return StudyResult(study, tuple(in_use))


def settle(study: Study, trial: Trial, sitting: Sitting, judge: OnEvaluation | None = None) -> None:
    """Run or resume one trial until it has an outcome.

    At each evaluation `judge` decides whether it continues; None: the finished trials do, if the
    sitting gives up.

    Raises:
        InUseError: another process is running it.
        StoppedError: interrupted by a signal or the deadline.
    """
    with exclusive_lock(study.lock_path(trial), what=f"trial {trial.name}"):
        if study.outcome(trial) is not None:  # another process was faster
            return
        if judge is None and sitting.gives_up:
            judge = _judge(study, trial)
        _outcome(study, trial, sitting, judge).save(study.outcome_path(trial))


def _outcome(study: Study, trial: Trial, sitting: Sitting, judge: OnEvaluation | None) -> Outcome:
    reason = sitting.fits(study, trial) if sitting.fits is not None else None
    if reason is None:
        return _train(study, trial, sitting, judge)
    sitting.reporter.say(f"{trial.name}: {reason}")
    return Outcome(status="too-large", step=0, reason=reason)


def _train(study: Study, trial: Trial, sitting: Sitting, judge: OnEvaluation | None) -> Outcome:
    """Train a trial until it has an outcome, or raise StoppedError."""
    run, config = RunDirectory(study.run_path(trial)), study.config(trial)
    say = sitting.reporter.say
    try:
        result = train(
            config,
            run.path,
            resume=run.config.exists(),
            reporter=sitting.reporter,
            on_evaluation=judge,
            deadline=sitting.deadline,
            on_row=RangeWatch(run.metrics) if study.kind == "lr-range" else None,
        )
    except DivergedError as error:
        say(f"{trial.name} diverged")
        return Outcome(status="diverged", step=_last_step(run), reason=str(error))
    except torch.OutOfMemoryError as error:  # accounting predicted too little
        reason = f"the device ran out of memory: {str(error).splitlines()[0]}"
        say(f"{trial.name}: {reason}")
        return Outcome(status="too-large", step=_last_step(run), reason=reason)
    if result.is_given_up and study.kind == "lr-range":
        say(f"{trial.name} diverged at step {result.step:,}, as expected")
        return Outcome(status="diverged", step=result.step)
    if result.is_given_up:
        [*_, (_, loss)] = _losses(run, "evaluation")
        reason = "other trials had a lower loss after as many tokens"
        say(f"giving up {trial.name} at step {result.step:,}: {reason}")
        return Outcome(status="hopeless", validation_loss=loss, step=result.step, reason=reason)
    if result.summary is None:
        raise StoppedError(result.exit_signal)
    loss = result.summary.validation_loss
    # The validation loss does not reveal a divergence: overfitting raises it too.
    rise = find_rise([x for _, x in _losses(run, "train") if math.isfinite(x)])
    reason = None if rise is None else str(rise)
    if not math.isfinite(loss):
        reason, loss = f"the validation loss is {loss}", None
    if reason is not None:
        say(f"{trial.name} diverged: {reason}")
        return Outcome(status="diverged", validation_loss=loss, step=result.step, reason=reason)
    return Outcome(status="finished", validation_loss=loss, step=result.step)


def _losses(run: RunDirectory, kind: str) -> list[tuple[int, float]]:
    """Return (tokens, loss) of each row of a kind."""
    rows, _ = read_readable_metrics(run.metrics)
    return [
        (row.get("tokens") or 0, loss)
        for row in rows
        if row["kind"] == kind and (loss := row.get("loss")) is not None
    ]


def _last_step(run: RunDirectory) -> int:
    rows, _ = read_readable_metrics(run.metrics)
    return max((row["step"] for row in rows), default=0)


def _judge(study: Study, trial: Trial) -> OnEvaluation:
    """Return the check, at each evaluation, of whether a trial should continue."""
    num_steps = study.config(trial).num_steps
    rivals = []
    for other in study.trials:
        if study.retuned is not None and study.group(other) != study.group(trial):
            continue  # the best for one batch size need not be so for another
        outcome = study.outcome(other)
        if outcome is not None and outcome.status == "finished":
            rivals.append(_losses(RunDirectory(study.run_path(other)), "evaluation"))

    def judge(state: LoopState, loss: float) -> bool:
        seen = [[value for tokens, value in rival if tokens <= state.tokens] for rival in rivals]
        best_by_then = [min(values) for values in seen if values]
        if state.step < GRACE * num_steps or len(best_by_then) < MIN_RIVALS:
            return True
        return loss <= statistics.median(best_by_then)

    return judge
