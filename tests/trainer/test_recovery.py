"""A run that was stopped ends as one that was not: bit for bit, wherever it was stopped."""

import itertools
import json
import signal
import time
from pathlib import Path

import pytest
import torch
from faults.tiny_run import outcome, run_tiny, tiny_config

import trainer.run
import trainer.training.evaluator
import trainer.training.step
from trainer.checkpoint.run_checkpoint import newest_checkpoint
from trainer.config.run_config import RunConfig
from trainer.training.interrupts import StopRequest


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return tiny_config(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def whole(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    run_tiny(config, run_dir)
    return run_dir


def _stop_after(monkeypatch: pytest.MonkeyPatch, num_steps: int) -> None:
    """Have the run asked to stop during a step, as Ctrl-C would."""
    asked = 0

    class Request(StopRequest):
        def __bool__(self) -> bool:
            return self.signal is not None

    request = Request()
    step = trainer.training.step.EagerStepper.step

    def counted(self: object, number: int, rate: float) -> object:
        nonlocal asked
        asked += 1
        if asked == num_steps:
            request.signal = signal.SIGINT
        return step(self, number, rate)

    monkeypatch.setattr(trainer.run, "StopRequest", lambda **_: request)
    monkeypatch.setattr(trainer.training.step.EagerStepper, "step", counted)


def _require_alike(cut: Path, whole: Path) -> None:
    found, wanted = outcome(cut), outcome(whole)
    assert found["metrics"] == wanted["metrics"]
    assert found.keys() == wanted.keys()
    assert found == wanted


@pytest.mark.parametrize("step", [1, 3, pytest.param(6, id="6, evaluated"), 11])
def test_a_run_stopped_at_a_step_ends_alike(
    config: RunConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch:
        _stop_after(patch, step)
        result, _ = run_tiny(config, tmp_path / "run")
    assert (result.step, result.summary) == (step, None)
    _, said = run_tiny(config, tmp_path / "run", resume=True)
    assert f"resuming from step {step} " in said
    _require_alike(tmp_path / "run", whole)


@pytest.mark.campaign
def test_a_run_stopped_at_every_step_once_ends_alike(
    config: RunConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(1, config.training.max_steps):
        with monkeypatch.context() as patch:
            _stop_after(patch, 1)
            run_tiny(config, tmp_path / "run", resume=step > 1)
    run_tiny(config, tmp_path / "run", resume=True)
    _require_alike(tmp_path / "run", whole)


@pytest.mark.parametrize("call", [2, 12])
def test_a_run_that_breaks_in_the_middle_of_a_batch_ends_alike(
    config: RunConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    calls, cut = 0, trainer.training.step.sample_batch

    def breaking(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return cut(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.training.step, "sample_batch", breaking)
        with pytest.raises(KeyboardInterrupt):
            run_tiny(config, tmp_path / "run")
    run_tiny(config, tmp_path / "run", resume=True)
    _require_alike(tmp_path / "run", whole)


def test_an_evaluation_that_dies_costs_no_training_and_is_made_up_for(
    config: RunConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = trainer.training.evaluator.evaluate_windows

    def die_at_second(*args: object, **options: object) -> float:
        patch.setattr("trainer.training.evaluator.evaluate_windows", die)
        return evaluate(*args, **options)

    def die(*_: object, **__: object) -> None:
        raise MemoryError("evaluation")

    with monkeypatch.context() as patch:
        patch.setattr("trainer.training.evaluator.evaluate_windows", die_at_second)
        with pytest.raises(MemoryError, match="evaluation"):
            run_tiny(config, tmp_path / "run")
    found, _ = newest_checkpoint(tmp_path / "run")
    assert found.step == 6
    run_tiny(config, tmp_path / "run", resume=True)
    _require_alike(tmp_path / "run", whole)


def test_a_wall_clock_that_jumps_changes_nothing(
    config: RunConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, jumps = time.time(), itertools.cycle([5 * 3600.0, -9 * 3600.0, 0.0])

    def jumping() -> float:
        nonlocal now
        now += next(jumps)
        return now

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "time_ns", lambda: int(jumping() * 1e9))
    with monkeypatch.context() as patch:
        _stop_after(patch, 5)
        assert run_tiny(config, tmp_path / "run")[0].step == 5
    result, _ = run_tiny(config, tmp_path / "run", resume=True)
    _require_alike(tmp_path / "run", whole)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    seconds = [json.loads(row)["seconds"] for row in rows]
    assert seconds == sorted(seconds), "the run's own clock continues over both sittings"
    assert 0 < seconds[0] < seconds[-1] < 3600
    assert 0 < result.summary.training_seconds < 3600


def test_hours_that_a_run_may_take_are_none_of_the_wall_clock(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(time.time(), 2 * 3600.0)
    monkeypatch.setattr(time, "time", lambda: next(now))
    limited = tiny_config(config.corpus.cache_dir.parent, training__max_hours=1.0)
    result, _ = run_tiny(limited, tmp_path / "run")
    assert result.step == limited.training.max_steps


def test_training_draws_nothing_from_generators_that_would_have_to_be_saved(
    config: RunConfig, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run_tiny(config, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_second_process_on_a_run_is_refused(
    config: RunConfig, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_: object, **__: object) -> None:
        with pytest.raises(ValueError, match=r"run is in use by process \d+ on "):
            run_tiny(config, whole, resume=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("trainer.run.find_start", meanwhile)
        with pytest.raises(KeyboardInterrupt):
            run_tiny(config, whole, resume=True)
