"""Run the trials of a study that are not done, one after another.

Stage: study -> *runs and outcomes* -> report. A trial that diverges is a result, not a failure. Any
number of processes may work on one study: each takes trials that no other is at.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
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
"""A trial is given up only against so many finished ones."""
GRACE = 0.3
"""Share of its steps that every trial gets."""

Fits = Callable[[Study, Trial], str | None]
"""Returns why a trial cannot fit the device's memory; None: it can, or nobody knows."""

MoreTrials = Callable[[Study], Sequence[Trial]]
"""Returns what trials a study is to have, given its outcomes up to now; known ones may be among."""


@dataclass(frozen=True, slots=True)
class StudyResult:
    """How a sitting of a study ended."""

    study: Study
    """With all its trials by now."""
    in_use: tuple[str, ...]
    """Trials that other processes are at."""
    exit_signal: int | None = None
    """The signal that interrupted it."""
    is_out_of_time: bool = False
    """Whether the hours of the sitting were used up before the trials were."""

    num_asked: int | None = None
    """Trials that there are to be in all; None: those that the study has."""

    @property
    def num_trials(self) -> int:
        """Trials that there are to be, as far as is known."""
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
    """Whether trials end that others outdo."""
    fits: Fits | None = None
    """Asked before a trial begins; None: every trial fits."""
    deadline: float | None = None
    """When it ends, seconds of `time.monotonic`; None: with the last trial."""

    @property
    def is_over(self) -> bool:
        """Whether the time is used up."""
        return self.deadline is not None and time.monotonic() >= self.deadline


class StoppedError(Exception):
    """A trial ended without an outcome, resumably."""

    def __init__(self, exit_signal: int | None) -> None:
        self.exit_signal = exit_signal


def run_study(
    study: Study, sitting: Sitting | None = None, *, more: MoreTrials | None = None
) -> StudyResult:
    """Run what is left of a study.

    Args:
        study: as `open_study` returns it.
        sitting: None: to the last trial, progress to stderr.
        more: asked when all trials are done, again and again, until it has none to add.

    Raises:
        ValueError: a trial cannot be run for a reason other than divergence.
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
    """Refuse before the first trial what would stop a later one: device, paths, too little text."""
    prepared: dict[object, PreparedData] = {}
    silent = Reporter(mode="silent")
    for trial in study.trials:
        if study.outcome(trial) is not None or sitting.is_over:
            continue
        config = study.config(trial)
        text = (config.corpus, config.tokenizer)
        try:
            if sitting.fits is not None and sitting.fits(study, trial) is not None:
                continue  # its outcome, not a mistake
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
    """Bring one trial to its outcome, or go on with it.

    Args:
        study: has the trial.
        trial: nobody else's at the moment.
        sitting: whose time it takes.
        judge: told of each evaluation; None: the finished trials judge, where `sitting` gives up.

    Raises:
        InUseError: another process is at it.
        StoppedError: a signal or the end of the sitting came first.
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
    return Outcome(status="too-large", validation_loss=None, step=0, reason=reason)


def _train(study: Study, trial: Trial, sitting: Sitting, judge: OnEvaluation | None) -> Outcome:
    """Train to an outcome.

    Raises:
        StoppedError: a signal or the end of the sitting came first.
    """
    run, config, say = (
        RunDirectory(study.run_path(trial)),
        study.config(trial),
        sitting.reporter.say,
    )
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
        step = _last_step(run)
        return Outcome(status="diverged", validation_loss=None, step=step, reason=str(error))
    except torch.OutOfMemoryError as error:  # more was there than accounting foresaw
        reason = f"the device ran out of memory: {str(error).splitlines()[0]}"
        say(f"{trial.name}: {reason}")
        step = _last_step(run)
        return Outcome(status="too-large", validation_loss=None, step=step, reason=reason)
    if result.is_given_up and study.kind == "lr-range":
        say(f"{trial.name} diverged at step {result.step:,}, as it was meant to")
        return Outcome(status="diverged", validation_loss=None, step=result.step)
    if result.is_given_up:
        [*_, (_, loss)] = _evaluations(run)
        reason = "others were better at as many tokens"
        say(f"{trial.name} is given up at step {result.step:,}: {reason}")
        return Outcome(status="hopeless", validation_loss=loss, step=result.step, reason=reason)
    if result.summary is None:
        raise StoppedError(result.exit_signal)
    loss = result.summary.validation_loss
    # A finite validation loss cannot tell a divergence: overfitting raises it too.
    reason = describe_rise(_training_losses(run))
    if not math.isfinite(loss):
        reason, loss = f"the validation loss is {loss}", None
    if reason is not None:
        say(f"{trial.name} diverged: {reason}")
        return Outcome(status="diverged", validation_loss=loss, step=result.step, reason=reason)
    return Outcome(status="finished", validation_loss=loss, step=result.step)


def describe_rise(losses: Sequence[float]) -> str | None:
    """Say how far the training loss rose for good, as `find_rise` decides it; None: it did not.

    >>> describe_rise([6.0, 4.0, 4.0, 4.0, 4.0, 6.0, 6.0, 6.0])
    'the training loss fell to 4.00 and ended at 6.00'
    """
    rise = find_rise(losses)
    return None if rise is None else str(rise)


def _training_losses(run: RunDirectory) -> list[float]:
    """Return the finite training losses of a run, in order."""
    rows, _ = read_readable_metrics(run.metrics)
    losses = (row.get("loss") for row in rows if row["kind"] == "train")
    return [loss for loss in losses if loss is not None and math.isfinite(loss)]


def _last_step(run: RunDirectory) -> int:
    rows, _ = read_readable_metrics(run.metrics)
    return max((row["step"] for row in rows), default=0)


def _evaluations(run: RunDirectory) -> Iterator[tuple[int, float]]:
    """Yield (tokens, loss) of each evaluation."""
    rows, _ = read_readable_metrics(run.metrics)
    for row in rows:
        if row["kind"] == "evaluation" and row.get("loss") is not None:
            yield row.get("tokens") or 0, row["loss"]


def _judge(study: Study, trial: Trial) -> OnEvaluation:
    """Return what tells a trial, at each evaluation, whether to go on."""
    num_steps = study.config(trial).num_steps
    rivals = []
    for other in study.trials:
        if study.retuned is not None and study.group(other) != study.group(trial):
            continue  # what is best for one batch size says nothing about another
        outcome = study.outcome(other)
        if outcome is not None and outcome.status == "finished":
            rivals.append(list(_evaluations(RunDirectory(study.run_path(other)))))

    def judge(state: LoopState, loss: float) -> bool:
        seen = [[value for tokens, value in rival if tokens <= state.tokens] for rival in rivals]
        best_by_then = [min(values) for values in seen if values]
        if state.step < GRACE * num_steps or len(best_by_then) < MIN_RIVALS:
            return True
        return loss <= statistics.median(best_by_then)

    return judge
