"""Search with Optuna: TPE proposes trials, and the median of the others prunes them.

Stage: space, outcomes so far -> *next trial* -> running. Every trial that Optuna proposes is one of
the study, with a run directory and an outcome, so reports do not need Optuna. A killed process
leaves its trial running in Optuna's storage; the next process resumes it from its run directory.
Not here: the built-in grid (`grid.py`).

Source: Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization (TPE); Akiba et al. 2019,
Optuna, arXiv:1907.10902.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from trainer.checkpoint.loop_state import LoopState
from trainer.experiments.grid import Over, trial_at
from trainer.experiments.search_space import Between, Space
from trainer.experiments.study import Study, Trial, add_trials, safe_name
from trainer.experiments.trials import (
    GRACE,
    MIN_RIVALS,
    Sitting,
    StoppedError,
    StudyResult,
    settle,
)
from trainer.storage.file_lock import InUseError, file_lock
from trainer.training.recorder import OnEvaluation

JOURNAL, SQLITE = "journal", "sqlite:///"
_RANDOM_TRIALS = 5  # before TPE models anything
_SHARES = 100  # trials are compared at equal hundredths of their steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """A search with Optuna."""

    space: Space
    num_trials: int
    """In total, including those of earlier and other processes."""
    storage: str = JOURNAL
    """JOURNAL: a file in the study directory; or sqlite:///FILE."""
    is_equal_tokens: bool = True

    def run(self, study: Study, sitting: Sitting) -> StudyResult:
        """Resume interrupted trials, then ask for more until there are enough.

        Raises:
            ValueError: an unusable storage, or a trial that fails other than by divergence.
        """
        return replace(_Engine(self, study, sitting).run(), num_asked=self.num_trials)


class _Engine:
    """One process working on a study and its counterpart in Optuna."""

    def __init__(self, search: Search, study: Study, sitting: Sitting) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        (study.path / "trials").mkdir(parents=True, exist_ok=True)
        self._search, self._study, self._sitting = search, study, sitting
        self._lock = study.path / "optuna.lock"
        with self._alone():
            self._storage = _open_storage(search.storage, study.path)
            self._optuna = optuna.create_study(
                storage=self._storage,
                study_name=study.path.name,
                sampler=self._sampler(0),
                pruner=MedianPruner(MIN_RIVALS, n_warmup_steps=round(GRACE * _SHARES)),
                load_if_exists=True,
            )

    def run(self) -> StudyResult:
        """Run trials until there are enough, or the sitting ends."""
        while not self._sitting.is_over:
            in_use: list[str] = []
            try:
                if not self._settle_next(in_use):
                    return StudyResult(self._study, tuple(in_use))
            except StoppedError as stop:
                signal = stop.exit_signal
                return StudyResult(
                    self._study, tuple(in_use), signal, is_out_of_time=signal is None
                )
        return StudyResult(self._study, (), is_out_of_time=True)

    def _settle_next(self, in_use: list[str]) -> bool:
        """Run one trial to its outcome; False: none is left."""
        for number in self._open_numbers():
            asked, trial = self._prepare(number)
            if trial is None:
                return True
            judge = self._judge(asked, trial) if self._sitting.gives_up else None
            try:
                settle(self._study, trial, self._sitting, judge)
            except InUseError:
                in_use.append(trial.name)
                continue
            self._tell(asked, trial)
            return True
        return False

    def _open_numbers(self) -> Iterator[int]:
        """Yield all running trials, of other processes too, then a new one if more are wanted."""
        for one in self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            yield one.number
        with self._alone():
            if len(self._optuna.get_trials(deepcopy=False)) >= self._search.num_trials:
                return
            number = self._optuna.ask().number
        yield number

    def _prepare(self, number: int) -> tuple[optuna.Trial, Trial | None]:
        """Draw or read a trial's values; None: they are invalid."""
        base = self._study.base
        with self._alone():
            self._optuna.sampler = self._sampler(number)
            study_id = self._storage.get_study_id_from_name(self._optuna.study_name)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
            asked = optuna.Trial(self._optuna, trial_id)
            point = {axis.field: _suggest(asked, axis) for axis in self._search.space}
            try:
                trial = trial_at(base, point, is_equal_tokens=self._search.is_equal_tokens)
            except ValueError as error:
                self._sitting.reporter.say(f"skipping trial {number}: {error}")
                self._optuna.tell(asked, state=TrialState.FAIL)
                return asked, None
            trial = replace(trial, name=_name(number, point))
            self._study = add_trials(self._study, [trial])
        self._sitting.reporter.say(f"trial {number + 1} of {self._search.num_trials}: {trial.name}")
        return asked, trial

    def _tell(self, asked: optuna.Trial, trial: Trial) -> None:
        outcome = self._study.outcome(trial)
        assert outcome is not None
        with self._alone():  # another process may report the same outcome
            if self._optuna.get_trials(deepcopy=False)[asked.number].state.is_finished():
                return
            asked.set_user_attr("outcome", outcome.status)
            if outcome.status == "finished":
                self._optuna.tell(asked, outcome.validation_loss)
                return
            if outcome.validation_loss is not None:
                asked.set_user_attr("validation_loss", outcome.validation_loss)
            # Counts among the worst, so that TPE avoids it.
            self._optuna.tell(asked, state=TrialState.PRUNED)

    def _judge(self, asked: optuna.Trial, trial: Trial) -> OnEvaluation:
        """Return the check, at each evaluation, of whether Optuna prunes the trial."""
        num_steps = self._study.config(trial).num_steps
        known = self._optuna.get_trials(deepcopy=False)[asked.number].intermediate_values
        reported = set(known)  # by a killed process

        def judge(state: LoopState, loss: float) -> bool:
            share = round(_SHARES * state.step / num_steps)
            if math.isfinite(loss) and share not in reported:
                asked.report(loss, share)
                reported.add(share)
            return not asked.should_prune()

        return judge

    def _alone(self) -> AbstractContextManager[None]:
        """Exclude other processes from Optuna's study."""
        return file_lock(self._lock, on_wait=lambda: None)

    def _sampler(self, number: int) -> TPESampler:
        """Return a sampler seeded per trial: processes differ, restarts repeat."""
        seed = np.random.SeedSequence((self._study.base.seed, number)).generate_state(1)[0]
        return TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=int(seed))


def _suggest(asked: optuna.Trial, axis: Over | Between) -> object:
    if isinstance(axis, Over):
        return asked.suggest_categorical(axis.field, axis.values)
    if isinstance(axis.low, int) and isinstance(axis.high, int):
        return asked.suggest_int(axis.field, axis.low, axis.high, log=axis.is_log)
    return asked.suggest_float(axis.field, axis.low, axis.high, log=axis.is_log)


def _name(number: int, point: dict[str, object]) -> str:
    shown = {
        field.rpartition(".")[2]: f"{value:.4g}" if isinstance(value, float) else value
        for field, value in point.items()
    }
    return safe_name(",".join([f"{number:03d}", *(f"{k}={v}" for k, v in shown.items())]))


def _open_storage(text: str, path: Path) -> BaseStorage:
    where = path / "optuna.journal" if text == JOURNAL else text
    try:
        if isinstance(where, Path):
            lock = cast(Any, _JournalLock(where))  # the base class of Optuna's own is not public
            return JournalStorage(JournalFileBackend(str(where), lock_obj=lock))
        return RDBStorage(where)
    except (ValueError, SQLAlchemyError, StorageInternalError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"Optuna cannot use {where} as storage: {reason}; name another with --storage"
        ) from error


class _JournalLock:
    """Lock the journal, and release it when the process dies, unlike Optuna's own lock.

    A partial line of a killed process is dropped: the next line would be joined to it.
    """

    def __init__(self, journal: Path) -> None:
        self._journal, self._held = journal, ExitStack()

    def acquire(self) -> bool:
        lock = self._journal.with_name(f"{self._journal.name}.lock")
        self._held.enter_context(file_lock(lock, on_wait=lambda: None))
        with self._journal.open("r+b") as file:
            content = file.read()
            if not content.endswith(b"\n"):
                file.truncate(content.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._held.close()
