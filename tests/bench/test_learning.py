"""The comparison of ways to train: in which order, what is kept, how it is reported."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench.cli import main
from bench.learning.chart import write_learning_chart
from bench.learning.report import print_learning
from bench.learning.results import Results
from bench.learning.subject import next_trial
from bench.learning.times import FORMAT, VERSION, StepTimes
from bench.learning.trials import CONTENDERS, Contender, Experiment, Trial
from trainer.cli.run_arguments import parse_train

BASELINE = Contender(
    name="base",
    options=("--optimizer.name", "adamw"),
    rate_option="--r",
    rates=(1.0, 2.0, 3.0),
)
FASTER = Contender(
    name="faster",
    options=("--optimizer.name", "muon"),
    rate_option="--r",
    rates=(1.0, 2.0),
    tuned_at=0.5,
    shares=(0.5,),
    ramp=((0.25, 16),),
)


def _experiment(folder: Path) -> Experiment:
    return Experiment(folder=folder, tokens=327_680, num_layers=1)


def _result(loss: float, seed: int = 0) -> dict[str, object]:
    curve = [[100, loss + 0.5 + seed], [200, loss]]
    return {"loss": loss, "tokens": 200, "steps": 3, "seconds": 1.0, "curve": curve}


def _filled(path: Path) -> Results:
    """All trainings of both: rates 1, 2, ... give losses 3.1, 2.9, 3.3; seeds add hundredths."""
    results = Results(path, {})
    for contender in (BASELINE, FASTER):
        while (trial := next_trial(contender, results)) is not None:
            loss = {1.0: 3.1, 2.0: 2.9, 3.0: 3.3}[trial.rate] + trial.seed / 100
            results.add(trial, _result(loss, trial.seed))
    return results


def test_all_rates_come_first_then_seeds_at_the_best(tmp_path: Path) -> None:
    results, seen = Results(tmp_path / "r.jsonl", {}), []
    losses = {1.0: 3.1, 2.0: 2.9, 3.0: 3.3}
    while (trial := next_trial(BASELINE, results)) is not None:
        seen.append((trial.rate, trial.share, trial.seed))
        results.add(trial, _result(losses[trial.rate]))
    assert seen == [(1, 1, 0), (2, 1, 0), (3, 1, 0), (2, 1, 1), (2, 1, 2)]


def test_results_are_kept_from_run_to_run(tmp_path: Path) -> None:
    path, trial = tmp_path / "r.jsonl", Trial("base", 1.0, 1.0, 0)
    Results(path, {"tokens": 5}).add(trial, _result(3.0))
    assert Results(path, {"tokens": 5})[trial] == _result(3.0)
    with pytest.raises(ValueError, match="name another --folder"):
        Results(path, {"tokens": 6})


def test_the_table_says_who_reached_the_baseline(tmp_path: Path) -> None:
    results, times = _filled(tmp_path / "r.jsonl"), StepTimes(tmp_path / "times.json")
    console = Console(width=160, record=True, file=io.StringIO())
    print_learning((BASELINE, FASTER), results, times, _experiment(tmp_path), console)
    text = console.export_text()
    assert "2.9100 (2.9000-2.9200)" in text
    assert "baseline" in text and "reached" in text
    assert "1: 3.1000, 2: 2.9000, 3: 3.3000" in text


def test_without_a_baseline_nobody_has_reached_it(tmp_path: Path) -> None:
    results, times = Results(tmp_path / "r.jsonl", {}), StepTimes(tmp_path / "times.json")
    results.add(Trial("faster", 1.0, 0.5, 0), _result(2.0))
    console = Console(width=160, record=True, file=io.StringIO())
    print_learning((BASELINE, FASTER), results, times, _experiment(tmp_path), console)
    text = console.export_text()
    assert "2.0000 (2.0000-2.0000)" in text
    assert "reached" not in text


def test_a_training_takes_the_sum_of_its_steps(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    seconds = {"muon, 16 windows": [0.5, 1.0, 9.0], "muon, 64 windows": [2.0]}
    path.write_text(json.dumps({"format": FORMAT, "version": VERSION, "seconds": seconds}))
    # 20 whole batches of 8,192 tokens: 5 of them as 20 steps of 16 windows, 15 whole.
    taken = StepTimes(path).of_training(FASTER, 0.5, _experiment(tmp_path))
    assert taken == 20 * 1.0 + 15 * 2.0
    assert StepTimes(tmp_path / "none").of_training(FASTER, 0.5, _experiment(tmp_path)) is None


def test_the_chart_has_a_curve_for_each(tmp_path: Path) -> None:
    path = tmp_path / "c.svg"
    write_learning_chart((BASELINE, FASTER), _filled(tmp_path / "r.jsonl"), path)
    lines = ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}polyline")
    assert len(list(lines)) == 2
    with pytest.raises(ValueError, match="base has not been trained yet"):
        write_learning_chart((BASELINE,), Results(tmp_path / "none", {}), path)


@pytest.mark.parametrize(("loss", "drawn"), [(2.9, 0.25), (3.2, 0.5), (9.0, 0.5)])
def test_the_chart_draws_the_fewest_tokens_that_reached(
    loss: float, drawn: float, tmp_path: Path
) -> None:
    results, contender = _filled(tmp_path / "r.jsonl"), replace(FASTER, shares=(0.5, 0.25))
    trial = Trial("faster", 2.0, 0.25, 0)
    results.add(trial, {**_result(loss), "curve": [[5_000, 3.0], [9_000, loss]]})
    path = tmp_path / "c.svg"
    write_learning_chart((BASELINE, contender), results, path)
    tokens = {0.25: 9, 0.5: 0}[drawn]  # thousands
    assert f"faster, {tokens}k tokens" in path.read_text()


@pytest.mark.parametrize("contender", CONTENDERS.values(), ids=list(CONTENDERS))
def test_train_understands_every_contender(contender: Contender, tmp_path: Path) -> None:
    experiment = Experiment(folder=tmp_path, tokens=2_457_600, num_layers=3)
    trial = Trial(contender.name, contender.rates[0], contender.shares[0], seed=1)
    config = parse_train(experiment.options(trial, contender)).config
    tokens = round(2_457_600 * contender.shares[0])
    assert config.total_tokens == pytest.approx(tokens, abs=2048)
    assert len(config.batch_stages) == 1 + len(contender.ramp)
    assert config.seed == 1


def test_nobody_gets_more_rates_than_the_baseline() -> None:
    baseline, *others = CONTENDERS.values()
    assert len(baseline.rates) >= 6
    assert all(len(contender.rates) <= len(baseline.rates) for contender in others)


def test_a_stranger_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "learning", "--only", "adam"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "no contender 'adam'; there are adamw" in capsys.readouterr().err
