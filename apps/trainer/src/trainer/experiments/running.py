"""Run the trials of a study that are not done, one after another.

Stage: study -> *runs and outcomes* -> report. A trial that diverges is a result, not a failure. Any
number of processes may work on one study: each takes trials that no other is at.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trainer.experiments.study import Outcome, Study, Trial
from trainer.file_lock import InUseError, exclusive_lock
from trainer.loop import DivergedError, LoopState, OnEvaluation
from trainer.metrics import read_readable_metrics
from trainer.progress import Reporter
from trainer.run import train
from trainer.run_directory import RunDirectory

_MIN_RIVALS = 3  # a trial is given up only against so many finished ones
_GRACE = 0.3  # share of its steps that every trial gets

Fits = Callable[[Study, Trial], str | None]
"""Returns why a trial cannot fit the device's memory; None: it can, or nobody knows."""


@dataclass(frozen=True, slots=True)
class StudyResult:
    """How a sitting of a study ended."""

    num_done: int
    """Trials with an outcome."""
    in_use: tuple[str, ...]
    """Trials that other processes are at."""
    exit_signal: int | None = None
    """The signal that interrupted it."""


def run_study(
    study: Study,
    *,
    reporter: Reporter | None = None,
    gives_up: bool = False,
    fits: Fits | None = None,
) -> StudyResult:
    """Run what is left of a study.

    Args:
        study: as `open_study` returns it.
        reporter: where progress goes; None: to stderr.
        gives_up: end a trial whose validation loss is, past its first three tenths, worse than the
            median of the finished trials at as many tokens (Golovin et al. 2017, Vizier, 3.2.1).
        fits: asked before a trial begins.

    Raises:
        ValueError: a trial cannot be run for a reason other than divergence.
    """
    reporter = reporter or Reporter()
    in_use = []
    (study.path / "trials").mkdir(parents=True, exist_ok=True)
    for index, trial in enumerate(study.trials, start=1):
        if study.outcome(trial) is not None:
            continue
        reporter.say(f"trial {index} of {len(study.trials)}: {trial.name}")
        try:
            with exclusive_lock(study.lock_path(trial), what=f"trial {trial.name}"):
                signal = _settle(study, trial, reporter, gives_up=gives_up, fits=fits)
        except InUseError as error:
            reporter.say(str(error))
            in_use.append(trial.name)
            continue
        if signal is not None:
            return StudyResult(_num_done(study), tuple(in_use), signal)
    return StudyResult(_num_done(study), tuple(in_use))


def _settle(
    study: Study, trial: Trial, reporter: Reporter, *, gives_up: bool, fits: Fits | None
) -> int | None:
    """Bring one trial to its outcome; return the signal that kept it from one."""
    if study.outcome(trial) is not None:  # another process was faster
        return None
    reason = fits(study, trial) if fits is not None else None
    if reason is not None:
        reporter.say(f"{trial.name}: {reason}")
        outcome = Outcome(status="too-large", validation_loss=None, step=0, reason=reason)
    else:
        outcome = _train(study, trial, reporter, _judge(study, trial) if gives_up else None)
    if isinstance(outcome, int):
        return outcome
    outcome.save(study.outcome_path(trial))
    return None


def _train(
    study: Study, trial: Trial, reporter: Reporter, judge: OnEvaluation | None
) -> Outcome | int:
    """Train to an outcome, or to a signal."""
    run, config = RunDirectory(study.run_path(trial)), study.config(trial)
    is_begun = run.config.exists()
    try:
        result = train(config, run.path, resume=is_begun, reporter=reporter, on_evaluation=judge)
    except DivergedError as error:
        reporter.say(f"{trial.name} diverged")
        step = _last_step(run)
        return Outcome(status="diverged", validation_loss=None, step=step, reason=str(error))
    if result.exit_signal is not None:
        return result.exit_signal
    if result.is_given_up:
        [*_, (_, loss)] = _evaluations(run)
        reason = "others were better at as many tokens"
        reporter.say(f"{trial.name} is given up at step {result.step:,}: {reason}")
        return Outcome(status="hopeless", validation_loss=loss, step=result.step, reason=reason)
    assert result.summary is not None
    loss = result.summary.validation_loss
    return Outcome(status="finished", validation_loss=loss, step=result.step)


def _num_done(study: Study) -> int:
    return sum(study.outcome(trial) is not None for trial in study.trials)


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
        outcome = study.outcome(other)
        if outcome is not None and outcome.status == "finished":
            rivals.append(list(_evaluations(RunDirectory(study.run_path(other)))))

    def judge(state: LoopState, loss: float) -> bool:
        seen = [[value for tokens, value in rival if tokens <= state.tokens] for rival in rivals]
        best_by_then = [min(values) for values in seen if values]
        if state.step < _GRACE * num_steps or len(best_by_then) < _MIN_RIVALS:
            return True
        return loss <= statistics.median(best_by_then)

    return judge
