"""Optuna, the real one: what it asks for becomes trials, and no process that dies loses one."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from trainer.checkpoint.loop_state import LoopState
from trainer.config.presets import config_to_toml, load_preset
from trainer.experiments import (
    Outcome,
    Sitting,
    Study,
    Trial,
    best_first,
    open_study,
    optuna_engine,
    points,
)
from trainer.experiments import trials as running
from trainer.experiments.optuna_engine import Search
from trainer.experiments.search_space import describe_space, parse_space
from trainer.experiments.trials import StoppedError, StudyResult
from trainer.monitoring.metrics import MetricsLog
from trainer.monitoring.progress import Reporter
from trainer.run import RunResult
from trainer.storage.run_directory import RunDirectory

BASE = load_preset("quickstart")
RATE = "optimizer.learning-rate"
SILENT = Sitting(reporter=Reporter(mode="silent"))


def _run(path: Path, num_trials: int, sitting: Sitting = SILENT, **more: object) -> StudyResult:
    space = parse_space(more.pop("over", [f"{RATE}=1e-5..1:log"]), BASE)
    search = Search(space=space, num_trials=num_trials, **more)
    kept = {"space": describe_space(space), "storage": search.storage}
    study = open_study(path, kind="sweep", base=BASE, trials=[], engine="optuna", search=kept)
    return search.run(study, sitting)


def _outcome(study: Study, trial: Trial, *_: object) -> Outcome:
    """What a trial would come to: the best rate is 1e-3, and from 1e-1 on all diverge."""
    rate = study.config(trial).optimizer.learning_rate
    if rate > 0.1:
        return Outcome(status="diverged", validation_loss=None, step=3)
    loss = 3 + abs(rate - 1e-3) ** 0.5
    return Outcome(status="finished", validation_loss=loss, step=400)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def outcome(study: Study, trial: Trial, *rest: object) -> Outcome:
        names.append(trial.name)
        return _outcome(study, trial)

    monkeypatch.setattr(running, "_outcome", outcome)
    return names


def _told(path: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna_engine._open_storage("journal", path)
    return optuna.load_study(study_name=path.name, storage=storage).get_trials()


def test_what_optuna_asks_for_is_a_trial_and_how_it_ended_is_told(
    tmp_path: Path, trained: list[str]
) -> None:
    study = _run(tmp_path / "s", 12).study
    told = _told(tmp_path / "s")
    assert len(study.trials) == len(told) == len(trained) == 12
    for trial, one in zip(study.trials, told, strict=True):
        outcome = study.outcome(trial)
        assert trial.changes[RATE] == one.params[RATE]
        assert trial.name == f"{one.number:03d},learning-rate={one.params[RATE]:.4g}"
        is_finished = outcome.status == "finished"
        assert one.state == (TrialState.COMPLETE if is_finished else TrialState.PRUNED)
        assert (one.value, one.user_attrs) == (outcome.validation_loss, {"outcome": outcome.status})
    assert {one.state for one in told} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert best_first(points(study))[0].mean == min(one.value for one in told if one.value)


def test_a_study_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _run(tmp_path / "whole", 9).study
    settled = running._outcome

    def stopped(*_: object) -> Outcome:
        raise StoppedError(int(signal.SIGTERM))

    for num_trials in (2, 5, 9):
        monkeypatch.setattr(running, "_outcome", stopped)
        result = _run(tmp_path / "parts", num_trials)
        assert result.exit_signal == signal.SIGTERM
        monkeypatch.setattr(running, "_outcome", settled)
        parts = _run(tmp_path / "parts", num_trials).study
        assert len(parts.trials) == num_trials
    assert parts.trials == whole.trials
    assert trained[9:] == trained[:9], "no trial twice, none lost"


@pytest.mark.parametrize("moment", ["add_trials", "_suggest", "tell"])
def test_a_process_that_dies_between_two_steps_loses_no_trial(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with monkeypatch.context() as patch:
        owner = optuna.study.Study if moment == "tell" else optuna_engine
        patch.setattr(owner, moment, lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _run(tmp_path / "s", 3)
    study = _run(tmp_path / "s", 3).study
    assert len(study.trials) == len(trained) == len(set(trained)) == 3
    assert all(one.state.is_finished() for one in _told(tmp_path / "s"))


HANGING = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_optuna
from trainer.experiments import trials as running

def outcome(study, trial, *rest):
    study.run_path(trial).mkdir()
    (study.run_path(trial) / "begun").touch()
    time.sleep(600)

running._outcome = outcome
test_optuna._run(Path({path!r}), 6)
"""


def test_processes_share_a_study_and_one_takes_over_what_a_killed_one_was_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, names = tmp_path / "s", []
    code = HANGING.format(tests=str(Path(__file__).parent), path=str(path))
    with subprocess.Popen([sys.executable, "-c", code]) as hanging:

        def outcome(study: Study, trial: Trial, *_: object) -> Outcome:
            if len(names) == 2:
                hanging.kill()  # SIGKILL: nothing can be tidied up
                hanging.wait()
            names.append(trial.name)
            assert study.run_path(trial).exists() == (trial.name == begun.name)
            return _outcome(study, trial)

        while not (found := list(path.glob("trials/*/begun"))):
            assert hanging.poll() is None
            time.sleep(0.02)
        begun = found[0].parent
        monkeypatch.setattr(running, "_outcome", outcome)
        result = _run(path, 6)
    assert begun.name.startswith("000,") and names[3] == begun.name, "taken over once it was free"
    assert sorted(name[:3] for name in names) == ["000", "001", "002", "003", "004", "005"]
    assert (result.num_done, result.in_use) == (6, ())
    assert all(one.state.is_finished() for one in _told(path))


def _fake_train(config, run_dir: Path, *, on_evaluation, **more: object) -> RunResult:
    run, rate = RunDirectory(run_dir), config.optimizer.learning_rate
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.toml").write_text(config_to_toml(config))
    for step in range(100, 400, 100):
        loss = 3 + abs(rate - 1e-3) + 1 / step
        row = {"kind": "evaluation", "step": step, "tokens": step, "loss": loss}
        MetricsLog(run.metrics).append(row)
        if not on_evaluation(LoopState(step=step, tokens=step), loss):
            return RunResult(run, step, None, is_given_up=True)
    return RunResult(run, 400, type("Summary", (), {"validation_loss": loss}))


def test_the_pruner_ends_trials_past_their_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "train", _fake_train)
    sitting = Sitting(reporter=Reporter(mode="silent"), gives_up=True)
    study = _run(tmp_path / "s", 12, sitting).study
    told = _told(tmp_path / "s")
    pruned = [one for one in told if one.state == TrialState.PRUNED]
    assert pruned and all(max(one.intermediate_values) == 50 for one in pruned), "25 is grace"
    for one in pruned:
        assert study.outcome(study.trials[one.number]).status == "hopeless"
        others = [o.intermediate_values[50] for o in told[: one.number] if o not in pruned]
        assert len(others) >= 3 and one.intermediate_values[50] > min(others)


def test_a_sitting_ends_when_its_time_is_up(tmp_path: Path, trained: list[str]) -> None:
    result = _run(tmp_path / "s", 3, Sitting(reporter=SILENT.reporter, deadline=time.monotonic()))
    assert (result.is_out_of_time, trained) == (True, [])


def test_sqlite_and_choices_and_integers(tmp_path: Path, trained: list[str]) -> None:
    over = ["model.position=rope,none", "model.num-layers=1..4:log", "schedule.final-fraction=0..1"]
    storage = f"sqlite:///{tmp_path / 'all.db'}"
    for num_trials in (2, 4):
        study = _run(tmp_path / "s", num_trials, over=over, storage=storage).study
    assert len(study.trials) == len(trained) == 4
    for trial in study.trials:
        config = study.config(trial)
        assert config.model.num_layers in (1, 2, 3, 4)
        assert 0 <= config.schedule.final_fraction <= 1
    assert not (tmp_path / "s" / "optuna.journal").exists()


def test_what_no_run_can_have_is_told_and_passed_over(tmp_path: Path, trained: list[str]) -> None:
    study = _run(tmp_path / "s", 4, over=["model.num-heads=1..3"]).study  # 2: 192 / 2 = 96
    assert len(study.trials) == 4
    study = _run(tmp_path / "t", 6, over=["model.num-heads=3..6"]).study
    states = [one.state for one in _told(tmp_path / "t")]
    assert states.count(TrialState.FAIL) == 6 - len(study.trials) > 0, "5 divides no width of 192"


def test_half_a_line_of_a_killed_process_is_dropped(tmp_path: Path, trained: list[str]) -> None:
    _run(tmp_path / "s", 2)
    with (tmp_path / "s" / "optuna.journal").open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    assert len(_run(tmp_path / "s", 4).study.trials) == 4
    assert len(_told(tmp_path / "s")) == 4


def test_a_damaged_storage_is_refused_with_its_name(tmp_path: Path, trained: list[str]) -> None:
    _run(tmp_path / "s", 1)
    (tmp_path / "s" / "optuna.journal").write_bytes(b"precious\n{}\n")
    with pytest.raises(ValueError, match=r"Optuna cannot use .*optuna\.journal as storage: "):
        _run(tmp_path / "s", 2)
    (tmp_path / "no.db").write_bytes(b"no database" * 999)
    with pytest.raises(ValueError, match=r"Optuna cannot use .*no\.db as storage: "):
        _run(tmp_path / "t", 2, storage=f"sqlite:///{tmp_path / 'no.db'}")


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ([], "one or more --over"),
        ([f"{RATE}=1e-3..1:log", f"{RATE}=1,2"], "different fields; given"),
        ([f"{RATE}=1..1e-3:log"], "needs 0 < LOW < HIGH"),
        ([f"{RATE}=0..1:log"], "needs 0 < LOW < HIGH"),
        ([f"{RATE}=a..b"], "needs LOW < HIGH"),
        ([f"{RATE}=1e-3..nan"], "needs LOW < HIGH"),
        ([f"{RATE}=1e-3..1:cubic"], "is not a range"),
        ([f"{RATE}=-1.0..1"], "must be positive"),
        (["optimizer.rate=1e-3..1"], "unknown field"),
        (["model.num-heads=6..7"], "divide"),
        (["training.batch-size=1,2,..."], "has no end"),
        (["=1..2"], "names no values"),
        ([RATE], "names no values"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(texts: list[str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_space(texts, BASE)


def test_a_range_with_a_count_is_a_choice() -> None:
    [axis] = parse_space([f"{RATE}=1e-4..1e-1:log:4"], BASE)
    assert axis.values == (1e-4, 1e-3, 1e-2, 1e-1)
    assert describe_space((axis,)) == {RATE: "0.0001,0.001,0.01,0.1"}
