"""A rate that rises until training falls apart: where it did, and that it is no error."""

import dataclasses
import math
import sys
from pathlib import Path

import pytest
from faults.tiny_run import tiny_config
from hypothesis import given
from hypothesis import strategies as st

from trainer.cli import commands as cli
from trainer.config.optimizers import MuonSection
from trainer.config.presets import load_preset
from trainer.experiments import open_study, parse_over, run_study, sweep
from trainer.experiments.lr_range import (
    DIVERGED_FACTOR,
    EDGE_FACTOR,
    RangeWatch,
    find_range,
    has_diverged,
    range_base,
    range_trials,
    read_range,
    remember_sweep,
)
from trainer.experiments.study import Outcome
from trainer.experiments.trials import Sitting
from trainer.monitoring.metrics import MetricsLog
from trainer.monitoring.progress import Reporter
from trainer.plan.learning_rate import learning_rate
from trainer.report import render_study
from trainer.report.findings.ranges import describe_range
from trainer.report.plots.ranges import draw_range
from trainer.storage.run_directory import RunDirectory

BASE = load_preset("quickstart")
SILENT = Sitting(reporter=Reporter(mode="silent"))


def _rates(count: int = 101, low: float = 1e-4, high: float = 1.0) -> list[float]:
    return [low * (high / low) ** (index / (count - 1)) for index in range(count)]


def _valley(rate: float) -> float:
    """Falls around 1e-2.5, is lowest near 1e-2, and rises past 1e-1."""
    place = math.log10(rate)
    return 4 - 2 / (1 + math.exp(-8 * (place + 2.5))) + max(0.0, place + 1) * 8


def test_the_rate_grows_evenly_from_the_first_step_to_the_last() -> None:
    config = range_base(BASE, low=1e-4, high=1.0, num_steps=41)
    rates = [learning_rate(config, step) for step in range(1, 42)]
    assert rates == pytest.approx(_rates(41))


def test_nothing_but_the_schedule_and_the_reporting_differs_from_the_preset() -> None:
    config = range_base(BASE, low=1e-4, high=1.0, num_steps=41)
    assert (config.model, config.corpus, config.tokenizer) == (
        BASE.model,
        BASE.corpus,
        BASE.tokenizer,
    )
    assert config.training == dataclasses.replace(BASE.training, max_steps=41)
    assert config.optimizer == dataclasses.replace(BASE.optimizer, learning_rate=1.0)


def test_muon_keeps_the_ratio_of_its_two_rates() -> None:
    muon = MuonSection(learning_rate=8e-3)
    optimizer = dataclasses.replace(BASE.optimizer, name="muon", muon=muon)
    base = dataclasses.replace(BASE, optimizer=optimizer)
    raised = range_base(base, low=1e-4, high=1.0, num_steps=41).optimizer
    assert raised.muon.learning_rate == pytest.approx(8e-3 / BASE.optimizer.learning_rate)


def test_a_valley_is_read_where_it_lies() -> None:
    rates = _rates()
    found = find_range(rates, [_valley(rate) for rate in rates])
    assert found.steepest == pytest.approx(10**-2.5, rel=0.2)
    assert 1e-2 <= found.lowest <= 1e-1
    beyond = next(rate for rate in rates if rate > 0.1 and _valley(rate) > EDGE_FACTOR * 2)
    assert found.edge == pytest.approx(beyond, rel=0.3)
    assert found.suggested == found.lowest / 10


@given(st.lists(st.floats(0.1, 9.0) | st.just(math.nan) | st.just(math.inf), max_size=60))
def test_any_curve_is_read_without_an_error(losses: list[float]) -> None:
    rates = _rates(max(2, len(losses)))[: len(losses)]
    found = find_range(rates, losses)
    if found is None:
        assert sum(1 for _ in losses) < 3 or not all(map(math.isfinite, losses[:3]))
        return
    places = [found.steepest, found.lowest, *(p for p in (found.edge, found.diverged) if p)]
    assert all(place in rates for place in places)
    assert found.edge is None or found.lowest < found.edge


def test_a_run_without_divergence_has_no_edge() -> None:
    found = find_range(_rates(20), [4 - index / 10 for index in range(20)])
    assert (found.edge, found.diverged) == (None, None)


@pytest.mark.parametrize("end", [[math.nan], [math.inf], [3 * DIVERGED_FACTOR] * 12])
def test_a_watched_run_ends_when_the_loss_has_left(tmp_path: Path, end: list[float]) -> None:
    losses = [4.0, 3.0, 2.5, 2.5, *end]
    watch = RangeWatch(tmp_path / "metrics.jsonl")
    goes_on = [
        watch({"kind": "train", "step": step, "loss": loss, "learning_rate": 1e-3})
        for step, loss in enumerate(losses, start=1)
    ]
    assert goes_on[:4] == [True] * 4
    assert False in goes_on and has_diverged(losses[: goes_on.index(False) + 1])


def test_a_resumed_watch_remembers_the_lowest_loss(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in range(1, 11):
        log.append({"kind": "train", "step": step, "loss": 1.0, "learning_rate": 1e-3})
    watch = RangeWatch(tmp_path / "metrics.jsonl")
    rows = ({"kind": "train", "step": step, "loss": 4.0} for step in range(11, 20))
    assert not all(watch(row) for row in rows)


def test_a_range_that_cannot_be_is_refused() -> None:
    for low, high, steps in ((1.0, 1.0, 50), (0.0, 1.0, 50), (1e-3, math.inf, 50), (1e-3, 1.0, 9)):
        with pytest.raises(ValueError, match="0 < LOW < HIGH"):
            range_base(BASE, low=low, high=high, num_steps=steps)


def _written(path: Path, *, num_seeds: int = 2):
    """Return a study of range tests that have run, without training."""
    base = range_base(BASE, low=1e-4, high=1.0, num_steps=101)
    trials = range_trials(base, num_seeds=num_seeds)
    study = open_study(path, kind="lr-range", base=base, trials=trials)
    for trial in study.trials:
        run = RunDirectory(study.run_path(trial))
        run.path.mkdir(parents=True)
        log = MetricsLog(run.metrics)
        for step, rate in enumerate(_rates(), start=1):
            row = {"kind": "train", "step": step, "learning_rate": rate, "loss": _valley(rate)}
            log.append(row)
        Outcome(status="diverged", validation_loss=None, step=101).save(study.outcome_path(trial))
    return study


def _sweep_of(path: Path, *, best: float, field: str = "optimizer.learning-rate", base=BASE):
    study = open_study(
        path, kind="sweep", base=base, trials=sweep(base, [parse_over(f"{field}={best},0.5")])
    )
    (study.path / "trials").mkdir()
    for trial, loss in zip(study.trials, (2.0, 3.0), strict=True):
        outcome = Outcome(status="finished", validation_loss=loss, step=9)
        outcome.save(study.outcome_path(trial))
    return study


def test_the_page_says_and_shows_where_the_edge_is(tmp_path: Path) -> None:
    study = _written(tmp_path / "r")
    remember_sweep(study, _sweep_of(tmp_path / "s", best=0.01).path)
    said = describe_range(study)
    assert said[0].startswith("The edge of stability is at a learning rate of 0.1")
    assert any("geometric mean of 2" in sentence for sentence in said)
    assert any(
        "The best rate of the sweep s, 0.01, is a factor of 1" in sentence for sentence in said
    )
    page = render_study(study)
    assert "Range test: r" in page and "edge of stability" in page
    marks = {node.text: float(node.get("x")) for node in draw_range(study).iter("text")}
    assert marks["suggested"] < marks["best of the sweep"] < marks["lowest"] < marks["edge"]


def test_half_a_curve_is_not_told(tmp_path: Path) -> None:
    study = _written(tmp_path / "r", num_seeds=1)
    study.outcome_path(study.trials[0]).unlink()
    assert describe_range(study) == ["1 of 1 trial has not finished yet."]
    assert draw_range(study) is None and "Range test: r" in render_study(study)


@pytest.mark.parametrize("field", ["optimizer.weight-decay", "optimizer.learning-rate"])
def test_a_sweep_of_something_else_is_refused(tmp_path: Path, field: str) -> None:
    study = _written(tmp_path / "r", num_seeds=1)
    other = BASE if field == "optimizer.weight-decay" else dataclasses.replace(BASE, preset="x")
    named = "is not a sweep over" if other is BASE else "of the same preset"
    with pytest.raises(ValueError, match=named):
        remember_sweep(study, _sweep_of(tmp_path / "s", best=0.25, field=field, base=other).path)


def test_divergence_ends_the_run_as_a_result_and_asked_again_it_is_there(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, evaluation__sample_tokens=0)
    base = range_base(config, low=1e-2, high=1e6, num_steps=40)
    study = open_study(
        tmp_path / "r", kind="lr-range", base=base, trials=range_trials(base, num_seeds=1)
    )
    [trial] = study.trials
    assert run_study(study, SILENT).exit_signal is None
    outcome = study.outcome(trial)
    assert (outcome.status, outcome.validation_loss) == ("diverged", None)
    found = read_range(study, trial)
    assert outcome.step == len(found.rates) < 40 and found.diverged is not None
    assert found.rates == pytest.approx(_rates(40, 1e-2, 1e6)[: outcome.step])
    before = RunDirectory(study.run_path(trial)).metrics.stat().st_mtime_ns
    run_study(study, SILENT)
    assert RunDirectory(study.run_path(trial)).metrics.stat().st_mtime_ns == before


def test_the_command_takes_its_own_options_and_refuses_nonsense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["lr-range", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.lr_range()
        return caught.value.code, capsys.readouterr().err

    assert call("--low", "2", "--high", "1")[0] == 2
    assert "--seeds is 0" in call("--seeds", "0")[1]
    code, err = call("--against", "nowhere", "--steps", "20")
    assert code == 2 and "nowhere is not a study" in err
    assert not Path("studies").exists()
