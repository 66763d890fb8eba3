"""The best value is sought again at each point, and the next trials follow from the outcomes."""

import io
import math
import signal
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from trainer.config.presets import load_preset
from trainer.experiments import (
    Outcome,
    Over,
    Retune,
    Sitting,
    Study,
    Trial,
    open_study,
    print_study,
    run_study,
    winners,
)
from trainer.experiments import trials as running
from trainer.experiments.trials import StoppedError
from trainer.monitoring.progress import Reporter
from trainer.report.findings.studies import describe_study

BASE = load_preset("quickstart")
RATE = "optimizer.learning-rate"
BATCHES = Over("training.batch-size", (1, 16, 64))
RATES = (1e-3, 2e-3, 4e-3)
SILENT = Sitting(reporter=Reporter(mode="silent"))


def _retune(*, points=(BATCHES,), values=RATES, **more) -> Retune:
    return Retune(base=BASE, over=Over(RATE, values), points=points, **more)


def _study(path: Path, retune: Retune) -> Study:
    trials = retune.trials()
    return open_study(path / "s", kind="sweep", base=BASE, trials=trials, retuned=RATE)


def _pretender(names: list[str], *, stop_after: int | None = None) -> Callable[..., Outcome]:
    """What a trial would come to: the best rate is 1e-3 times the root of the batch size."""
    left = stop_after

    def outcome(study: Study, trial: Trial, sitting: Sitting, judge: object) -> Outcome:
        nonlocal left
        if left == 0:
            raise StoppedError(int(signal.SIGTERM))
        left = None if left is None else left - 1
        names.append(trial.name)
        config = study.config(trial)
        rate, best = config.optimizer.learning_rate, 1e-3 * config.training.batch_size**0.5
        if rate > 4 * best:
            return Outcome(status="diverged", validation_loss=None, step=3)
        loss = 3 + abs(math.log(rate / best)) + config.seed / 1000
        return Outcome(status="finished", validation_loss=loss, step=400)

    return outcome


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(running, "_outcome", _pretender(names))
    return names


def _rates(study: Study, batch_size: int, *, seed: int = 0) -> list[float]:
    return [
        trial.changes[RATE]
        for trial in study.trials
        if trial.changes[BATCHES.field] == batch_size and trial.changes["seed"] == seed
    ]


@pytest.fixture(autouse=True)
def _without_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that only pretend to train need no text, so none is prepared."""
    monkeypatch.setattr(running, "_require_runnable", lambda *_: None)


def test_values_widen_at_an_edge_and_other_seeds_run_at_the_best_alone(
    tmp_path: Path, trained: list[str]
) -> None:
    retune = _retune(num_seeds=3)
    study = run_study(_study(tmp_path, retune), SILENT, more=retune.trials).study
    assert _rates(study, 1) == [1e-3, 2e-3, 4e-3, 5e-4], "the best at the low edge: one below"
    assert _rates(study, 16) == [1e-3, 2e-3, 4e-3, 8e-3], "at the high edge: one above"
    assert _rates(study, 64) == [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2], "and one more"
    for seed in (1, 2):
        assert [_rates(study, size, seed=seed) for size in (1, 16, 64)] == [[1e-3], [4e-3], [8e-3]]
    assert len(trained) == len(set(trained)) == len(study.trials) == 13 + 6


def test_widening_ends_at_its_bound_and_is_told(tmp_path: Path, trained: list[str]) -> None:
    retune = _retune(values=(1e-4, 2e-4), max_added=2)
    study = run_study(_study(tmp_path, retune), SILENT, more=retune.trials).study
    assert _rates(study, 64) == [1e-4, 2e-4, 4e-4, 8e-4]
    assert winners(study)[2].startswith(
        "At batch-size=64, the best learning-rate is 0.0008, at the edge"
    )
    assert winners(study)[2].endswith(" nats per token, 1 seed.")


def test_where_all_diverged_a_lower_rate_is_tried(tmp_path: Path, trained: list[str]) -> None:
    retune = _retune(points=[Over("training.batch-size", (1,))], values=(0.016, 0.064))
    study = run_study(_study(tmp_path, retune), SILENT, more=retune.trials).study
    assert _rates(study, 1) == [0.016, 0.064, 0.004, 0.001, 0.00025]


def test_where_nothing_fits_no_other_rate_is_tried(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Outcome(status="too-large", validation_loss=None, step=0)
    monkeypatch.setattr(running, "_outcome", lambda *_: large)
    retune = _retune()
    study = run_study(_study(tmp_path, retune), SILENT, more=retune.trials).study
    assert len(study.trials) == 3 * 3


def test_no_trial_is_asked_for_that_no_run_can_have(tmp_path: Path, trained: list[str]) -> None:
    field = "schedule.final-fraction"
    retune = Retune(base=BASE, over=Over(field, (0.3, 0.6)), points=[BATCHES])
    study = open_study(tmp_path, kind="sweep", base=BASE, trials=retune.trials(), retuned=field)
    for trial in study.trials:
        (tmp_path / "trials").mkdir(exist_ok=True)
        loss = 1 - trial.changes[field]
        Outcome(status="finished", validation_loss=loss, step=1).save(study.outcome_path(trial))
    assert {trial.changes[field] for trial in retune.trials(study)} == {0.3, 0.6}, "1.2 is none"


@settings(max_examples=3, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=5))
def test_stopped_anywhere_a_study_ends_with_the_same_trials(stops: list[int]) -> None:
    retune, names = _retune(num_seeds=2), []
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        for stop_after in [*stops, None]:
            patch.setattr(running, "_outcome", _pretender(names, stop_after=stop_after))
            study = _study(Path(folder), retune)
            study = run_study(study, SILENT, more=retune.trials).study
    assert len(names) == len(set(names)) == len(study.trials) == 13 + 3, "none twice, none missing"


def test_the_winner_of_each_point_is_printed_and_reported(
    tmp_path: Path, trained: list[str]
) -> None:
    retune = _retune(num_seeds=2)
    study = _study(tmp_path, retune)
    assert winners(study)[0] == ("At batch-size=1, none of 3 values of learning-rate has finished.")
    study = run_study(study, SILENT, more=retune.trials).study
    out = io.StringIO()
    print_study(study, Console(file=out, width=200))
    for sentence in (
        "At batch-size=1, the best learning-rate is 0.001: 3.0005 nats per token, 2 seeds.",
        "At batch-size=16, the best learning-rate is 0.004: 3.0005 nats per token, 2 seeds.",
    ):
        assert sentence in out.getvalue() and sentence in describe_study(study)


def test_another_tuning_is_another_study(tmp_path: Path) -> None:
    _study(tmp_path, _retune())
    with pytest.raises(ValueError, match=rf"another study \(retuned = {RATE}, not None\)"):
        open_study(tmp_path / "s", kind="sweep", base=BASE, trials=[])


def test_rivals_are_those_of_the_same_point(tmp_path: Path) -> None:
    study = _study(tmp_path, _retune())
    groups = [study.group(trial) for trial in study.trials]
    assert groups == [groups[0]] * 3 + [groups[3]] * 3 + [groups[6]] * 3
    assert len(set(groups)) == 3


@pytest.mark.parametrize(
    ("points", "values", "named"),
    [
        ([Over(RATE, RATES)], RATES, "is swept too"),
        ([BATCHES], (1e-3,), "two or more values"),
        ([BATCHES], (1e-3, -1.0), "must be positive"),
    ],
)
def test_a_tuning_without_a_choice_is_refused(points, values, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        _retune(points=points, values=values).trials()
