"""Studies go on where they stopped, know diverged from failed, and are not taken for another."""

import dataclasses
import json
import signal
import time
from pathlib import Path

import pytest

from trainer.checkpoint.loop_state import LoopState
from trainer.config.presets import config_to_toml, load_preset
from trainer.experiments import (
    Outcome,
    Over,
    Sitting,
    Study,
    best_first,
    open_study,
    points,
    run_study,
    sweep,
)
from trainer.experiments import trials as running
from trainer.monitoring.metrics import MetricsLog
from trainer.monitoring.progress import Reporter
from trainer.run import RunResult
from trainer.storage.file_lock import exclusive_lock
from trainer.storage.run_directory import RunDirectory
from trainer.training.divergence import DivergedError

BASE = load_preset("quickstart")
RATES = (1e-4, 1e-3, 1e-2, 2e-2, 1e-1)
QUIET = Reporter(mode="silent")
SILENT = Sitting(reporter=QUIET)


def _study(path: Path, *, num_seeds: int = 1, base=BASE, rates=RATES) -> Study:
    trials = sweep(base, [Over("optimizer.learning-rate", rates)], num_seeds=num_seeds)
    return open_study(path / "study", kind="sweep", base=base, trials=trials)


@dataclasses.dataclass
class _Summary:
    validation_loss: float


@pytest.fixture(autouse=True)
def _without_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that only pretend to train need no text, so none is prepared."""
    monkeypatch.setattr(running, "_require_runnable", lambda *_: None)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A `train` that only pretends; the loss is lowest at 1e-3, and 1e-1 diverges."""
    names: list[str] = []

    def train(config, run_dir: Path, *, resume, on_evaluation, **more) -> RunResult:
        names.append(run_dir.name + (" again" if resume else ""))
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.toml").write_text(config_to_toml(config))
        rate, run = config.optimizer.learning_rate, RunDirectory(run_dir)
        if rate == 1e-1:
            raise DivergedError("training diverged: at step 3 the loss is nan")
        for step in range(100, 401, 100):
            loss = 3 + abs(rate - 1e-3) * 100 + config.seed / 100 + 1 / step
            tokens = step * config.tokens_per_step
            row = {"kind": "evaluation", "step": step, "tokens": tokens, "loss": loss}
            MetricsLog(run.metrics).append(row)
            state = LoopState(step=step, tokens=tokens)
            if step < 400 and on_evaluation is not None and not on_evaluation(state, loss):
                return RunResult(run, step, None, is_given_up=True)
        return RunResult(run, 400, _Summary(loss))

    monkeypatch.setattr(running, "train", train)
    return names


def test_every_trial_gets_an_outcome_and_runs_once(tmp_path: Path, trained: list[str]) -> None:
    study = _study(tmp_path)
    assert run_study(study, SILENT).num_done == 5
    assert run_study(_study(tmp_path), SILENT).num_done == 5
    assert trained == [f"learning-rate={rate}" for rate in RATES]
    ranked = best_first(points(study))
    assert (ranked[0].name, ranked[0].status) == ("learning-rate=0.001", "finished")
    assert (ranked[-1].name, ranked[-1].status, ranked[-1].mean) == (
        "learning-rate=0.1",
        "diverged",
        None,
    )


def test_a_killed_study_goes_on_with_the_trial_it_was_at(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, whole = _study(tmp_path), running.train

    def interrupted(config, run_dir: Path, **more) -> RunResult:
        run_dir.mkdir(parents=True)
        (run_dir / "config.toml").write_text(config_to_toml(config))
        return RunResult(RunDirectory(run_dir), 3, None, exit_signal=int(signal.SIGTERM))

    monkeypatch.setattr(running, "train", interrupted)
    result = run_study(study, SILENT)
    assert (result.num_done, result.exit_signal) == (0, signal.SIGTERM)
    monkeypatch.setattr(running, "train", whole)
    assert run_study(_study(tmp_path), SILENT).num_done == 5
    assert trained[:2] == ["learning-rate=0.0001 again", "learning-rate=0.001"]


def test_a_sitting_ends_when_its_time_is_up_and_the_next_goes_on(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, whole = _study(tmp_path), running.train

    def slow(config, run_dir: Path, *, deadline: float, **more) -> RunResult:
        if len(trained) < 2:
            return whole(config, run_dir, **more)
        monkeypatch.setattr(time, "monotonic", lambda: deadline)
        return RunResult(RunDirectory(run_dir), 3, None)  # saved and stopped, by no signal

    monkeypatch.setattr(running, "train", slow)
    result = run_study(study, Sitting(reporter=QUIET, deadline=time.monotonic() + 3600))
    assert (result.num_done, result.is_out_of_time, result.exit_signal) == (2, True, None)
    result = run_study(study, Sitting(reporter=QUIET, deadline=time.monotonic()))
    assert (result.num_done, result.is_out_of_time) == (2, True), "no time, no trial"
    monkeypatch.setattr(running, "train", whole)
    result = run_study(study, SILENT)
    assert (result.num_done, result.is_out_of_time) == (5, False)


def test_a_trial_that_another_process_is_at_is_left_to_it(
    tmp_path: Path, trained: list[str]
) -> None:
    study = _study(tmp_path)
    (study.path / "trials").mkdir()
    with exclusive_lock(study.lock_path(study.trials[1]), what="trial"):
        result = run_study(study, SILENT)
    assert result.in_use == ("learning-rate=0.001",)
    assert result.num_done == 4 and "learning-rate=0.001" not in trained


def test_a_hopeless_trial_is_given_up_after_its_grace(tmp_path: Path, trained: list[str]) -> None:
    study = _study(tmp_path, rates=(2e-3, 1e-3, 3e-3, 1e-2, 1.5e-3))
    run_study(study, Sitting(reporter=QUIET, gives_up=True))
    outcomes = [study.outcome(trial) for trial in study.trials]
    assert [outcome.status for outcome in outcomes] == [
        "finished",
        "finished",
        "finished",
        "hopeless",
        "finished",
    ]
    assert outcomes[3].step == 200, "a fourth of the steps are grace"


def test_what_does_not_fit_is_not_begun(tmp_path: Path, trained: list[str]) -> None:
    study = _study(tmp_path)

    def fits(_: Study, trial) -> str | None:
        return "needs 90 GB of 80 GB" if trial.name.endswith("0.02") else None

    run_study(study, Sitting(reporter=QUIET, fits=fits))
    outcome = study.outcome(study.trials[3])
    assert (outcome.status, outcome.reason) == ("too-large", "needs 90 GB of 80 GB")
    assert len(trained) == 4


def test_seeds_are_averaged(tmp_path: Path, trained: list[str]) -> None:
    study = _study(tmp_path, num_seeds=3, rates=(1e-3, 2e-3))
    run_study(study, SILENT)
    best = best_first(points(study))[0]
    assert best.name == "learning-rate=0.001"
    assert best.mean == pytest.approx(3 + 0.01 + 1 / 400)
    assert best.spread == pytest.approx(0.01)


def test_new_values_join_a_study_and_another_base_does_not(
    tmp_path: Path, trained: list[str]
) -> None:
    run_study(_study(tmp_path, rates=(1e-3,)), SILENT)
    wider = _study(tmp_path, rates=(1e-3, 2e-3))
    assert [wider.outcome(trial) is not None for trial in wider.trials] == [True, False]
    with pytest.raises(ValueError, match=r"another study \(seed = 0, not 7\)"):
        _study(tmp_path, base=dataclasses.replace(BASE, seed=7))
    with pytest.raises(ValueError, match=r"another study \(kind = sweep, not ablate\)"):
        open_study(tmp_path / "study", kind="ablate", base=BASE, trials=[])


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "trainer.study", "version": 1}', '{"format": "x", "version": 1}'],
)
def test_a_damaged_study_is_refused_with_its_file(tmp_path: Path, content: str) -> None:
    _study(tmp_path)
    (tmp_path / "study" / "study.json").write_text(content)
    with pytest.raises(ValueError, match=r"study\.json"):
        _study(tmp_path)


def test_a_damaged_outcome_is_refused_with_its_file(tmp_path: Path, trained: list[str]) -> None:
    study = _study(tmp_path)
    run_study(study, SILENT)
    path = study.outcome_path(study.trials[0])
    document = json.loads(path.read_text())
    del document["step"]
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="remove it to run the trial again"):
        run_study(study, SILENT)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not a study"):
        _study(tmp_path)
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["mine.txt"]


def test_an_outcome_survives_its_file(tmp_path: Path) -> None:
    outcome = Outcome(status="diverged", validation_loss=None, step=3, reason="loss is nan")
    outcome.save(tmp_path / "o.json")
    assert Outcome.load(tmp_path / "o.json") == outcome
