"""The page of a study: best value and its doubt, what diverged, all trials."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from trainer.config.presets import config_to_toml, load_preset
from trainer.experiments import Outcome, Study, ablate, open_study, parse_over, sweep
from trainer.experiments.results import print_study
from trainer.monitoring.metrics import MetricsLog
from trainer.report import read_trials, render_study
from trainer.report.files import write_report
from trainer.report.findings.studies import describe_study
from trainer.report.plots.studies import draw_study
from trainer.report.plots.times import draw_against_time
from trainer.report.study_page import study_rows
from trainer.storage.run_directory import RunDirectory

BASE = load_preset("quickstart")
LossOf = Callable[[object], float | None]


def _end(study: Study, losses: dict[str, float | None]) -> Study:
    for trial in study.trials:
        if trial.name in losses:
            loss = losses[trial.name]
            status = "diverged" if loss is None else "finished"
            outcome = Outcome(status=status, validation_loss=loss, step=9)
            outcome.save(study.outcome_path(trial))
    return study


def _sweep(path: Path, over: str, *, num_seeds: int = 1) -> Study:
    trials = sweep(BASE, [parse_over(over)], num_seeds=num_seeds)
    return open_study(path / "s", kind="sweep", base=BASE, trials=trials)


def test_a_sweep_tells_its_best_and_whether_the_range_holds_it(tmp_path: Path) -> None:
    study = _sweep(tmp_path, "optimizer.learning-rate=0.001,0.01,0.1,1.0")
    names = [trial.name for trial in study.trials]
    _end(study, dict(zip(names, [3.5, 3.25, 3.75, None], strict=True)))
    assert describe_study(study) == [
        "learning-rate=0.01 is best, at 3.2500 nats per token.",
        "learning-rate=0.001 is next, 0.2500 higher.",
        "learning-rate=0.1 is the worst that finished, 0.5000 above the best.",
        "The best optimizer.learning-rate, 0.01, lies inside the range tried, 0.001 to 1.",
        "Diverged: learning-rate=1.0.",
    ]


def test_a_best_value_at_the_edge_is_called_so(tmp_path: Path) -> None:
    study = _sweep(tmp_path, "optimizer.learning-rate=0.001,0.01,0.1")
    _end(study, {"learning-rate=0.001": 3.0, "learning-rate=0.01": 3.5, "learning-rate=0.1": 4.0})
    assert any("is the lowest tried" in line for line in describe_study(study))


def test_values_that_have_not_run_are_no_range(tmp_path: Path) -> None:
    study = _sweep(tmp_path, "optimizer.learning-rate=0.001,0.002,0.004,0.008")
    ends = {"learning-rate=0.001": 4.0, "learning-rate=0.002": 3.5, "learning-rate=0.004": 3.0}
    _end(study, ends)
    assert any("0.004, is the highest tried" in line for line in describe_study(study))


def test_differences_are_told_with_their_doubt(tmp_path: Path) -> None:
    trials = ablate(BASE, ["nope", "silu", "tied"], num_seeds=2)
    study = open_study(tmp_path / "a", kind="ablate", base=BASE, trials=trials)
    ends = {"baseline": (3.0, 3.1), "nope": (3.5, 3.6), "silu": (3.02, 3.14), "tied": (3.0, 3.1)}
    _end(study, {f"{name},seed={i}": x for name, two in ends.items() for i, x in enumerate(two)})
    found = describe_study(study)
    assert found[0] == "The baseline ends at 3.0500 nats per token (standard deviation 0.0707)."
    assert found[1] == "nope is worse by 0.5000 (7.1 standard errors)."
    assert found[2].startswith("silu is worse by 0.0300") and "no clear difference" in found[2]
    assert found[3] == "tied matches the baseline."


def test_trials_that_have_not_run_are_counted(tmp_path: Path) -> None:
    study = _sweep(tmp_path, "optimizer.learning-rate=0.001,0.01,0.1")
    assert describe_study(study) == ["3 of 3 trials have not finished yet."]
    assert draw_study(study) is None
    assert "3 of 3 trials" in render_study(study)


@pytest.mark.parametrize("over", ["optimizer.learning-rate=0.001,0.1", "model.position=rope,none"])
def test_every_trial_is_a_dot(tmp_path: Path, over: str) -> None:
    study = _sweep(tmp_path, over, num_seeds=2)
    _end(study, {trial.name: 3.0 + index / 10 for index, trial in enumerate(study.trials)})
    root = draw_study(study)
    assert len(list(root.iter("circle"))) == 4
    page = render_study(study)
    assert ElementTree.tostring(root, encoding="unicode") in page
    assert all(trial.name.rpartition(",seed")[0] in page for trial in study.trials)


@pytest.mark.parametrize(
    ("over", "is_log"),
    [
        ("training.batch-size=2,8,32", True),
        ("optimizer.learning-rate=0.001,0.003,0.01", True),
        ("model.num-layers=1,2,3,4,5,6,7,8", False),
        ("optimizer.weight-decay=0.0,0.01,0.1", False),
    ],
)
def test_values_are_drawn_where_they_lie_evenly(tmp_path: Path, over: str, is_log: bool) -> None:
    study = _sweep(tmp_path, over)
    _end(study, {trial.name: 3.0 + index for index, trial in enumerate(study.trials)})
    places = [float(dot.get("cx")) for dot in draw_study(study).iter("circle")]
    values = [float(str(next(iter(trial.changes.values())))) for trial in study.trials]
    first, last = math.log(values[0] or 1), math.log(values[-1])
    shares = [(math.log(v or 1) - first) / (last - first) for v in values]
    even = [places[0] + share * (places[-1] - places[0]) for share in shares]
    assert (places == pytest.approx(even, abs=1.0)) == is_log


def test_what_diverged_stands_at_its_place(tmp_path: Path) -> None:
    study = _sweep(tmp_path, "optimizer.learning-rate=0.001,0.01,0.1")
    _end(study, {"learning-rate=0.001": 3.0, "learning-rate=0.01": 3.5, "learning-rate=0.1": None})
    root = draw_study(study)
    texts = {element.text: float(element.get("x")) for element in root.iter("text")}
    assert texts["diverged"] == pytest.approx(texts["0.1"], abs=0.1)


def test_a_diverged_trial_shows_its_loss_and_is_never_ranked_first(tmp_path: Path) -> None:
    study = _sweep(tmp_path, "optimizer.learning-rate=0.001,0.01,0.1,1.0")
    _end(study, {"learning-rate=0.001": 3.5, "learning-rate=0.1": 3.75, "learning-rate=1.0": None})
    undone = Outcome(status="diverged", validation_loss=1.4242, step=9, reason="it rose")
    undone.save(study.outcome_path(study.trials[1]))
    _, *rows = study_rows(study, [])
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("learning-rate=0.001", "3.5000", "finished"),
        ("learning-rate=0.1", "3.7500", "finished"),
        ("learning-rate=0.01", "1.4242", "diverged"),
        ("learning-rate=1.0", "", "diverged"),
    ]
    found = describe_study(study)
    assert found[0] == "learning-rate=0.001 is best, at 3.5000 nats per token."
    assert "Diverged: learning-rate=0.01 (1.4242), learning-rate=1.0." in found
    drawn = [element.text for element in draw_study(study).iter("text")]
    assert drawn.count("diverged") == 2 and "1.424" in drawn
    console = Console(width=200, file=io.StringIO())
    print_study(study, console)
    shown = console.file.getvalue()
    assert shown.index("3.5000") < shown.index("1.4242") and "1.4242" in render_study(study)


def test_the_rate_that_suits_a_variant_best_is_named(tmp_path: Path) -> None:
    names = ["no-norm", "no-norm-lower-rate", "no-norm-lowest-rate"]
    trials = ablate(BASE, names, num_seeds=1)
    study = open_study(tmp_path / "a", kind="ablate", base=BASE, trials=trials)
    ends = dict(zip(["baseline", *names], (3.0, None, 3.25, 3.5), strict=True))
    _end(study, {f"{name},seed=0": loss for name, loss in ends.items()})
    assert (
        "Of the learning rates tried for no-norm (1, 0.25, 0.0625 times the baseline's), 0.25 "
        "times is best: retuned, it ends at 3.2500, +0.2500 relative to the baseline."
    ) in describe_study(study)
    _end(study, {"no-norm-lowest-rate,seed=0": 3.125})
    assert any("a lower rate may do better still" in line for line in describe_study(study))


def _write_rows(study: Study, *, seconds: dict[str, float], norm: float = 0.5) -> None:
    for trial in study.trials:
        run = RunDirectory(study.run_path(trial))
        run.path.mkdir(parents=True)
        run.config.write_text(config_to_toml(study.config(trial)))
        log = MetricsLog(run.metrics)
        for step in range(1, 21):
            time = seconds[trial.name] * step / 20
            row = {"kind": "train", "step": step, "seconds": time, "loss": 3.0, "grad_norm": norm}
            log.append(row)


def test_the_key_of_a_sweep_lists_values_by_size(tmp_path: Path) -> None:
    over = [
        parse_over("training.batch-size=1,8,64"),
        parse_over("optimizer.learning-rate=0.02,0.003"),
    ]
    trials = sweep(BASE, over, num_seeds=1)
    study = open_study(tmp_path / "s", kind="sweep", base=BASE, trials=trials)
    _end(study, {trial.name: 3.0 + i / 8 for i, trial in enumerate(trials)})
    key = [node.text for node in draw_study(study).iter("text") if "learning-rate" in node.text]
    assert key == ["learning-rate 0.003", "learning-rate 0.02"]


def test_batch_sizes_are_drawn_against_the_time_they_took(tmp_path: Path) -> None:
    study = _sweep(tmp_path, "training.batch-size=1,8,64")
    seconds = {"batch-size=1": 100.0, "batch-size=8": 20.0, "batch-size=64": 10.0}
    _write_rows(study, seconds=seconds)
    _end(study, {"batch-size=1": 3.0, "batch-size=8": 3.1, "batch-size=64": 3.6})
    root = draw_against_time(study, read_trials(study))
    places = {node.text: float(node.get("x")) for node in root.iter("text")}
    assert places["64"] < places["8"] < places["1"]
    assert len(list(root.iter("circle"))) == 3
    assert "against training time" in render_study(study)


def test_a_trial_under_way_is_not_drawn_against_time_yet(tmp_path: Path) -> None:
    study = _sweep(tmp_path, "training.batch-size=1,8", num_seeds=2)
    _write_rows(study, seconds={trial.name: 10.0 for trial in study.trials})
    _end(study, {trial.name: 3.0 for trial in study.trials[:-1]})
    root = draw_against_time(study, read_trials(study))
    assert len(list(root.iter("circle"))) == 3
    assert "against training time" in render_study(study)


def test_other_sweeps_are_not_drawn_against_time(tmp_path: Path) -> None:
    study = _sweep(tmp_path, "optimizer.learning-rate=0.001,0.01")
    _end(study, {"learning-rate=0.001": 3.0, "learning-rate=0.01": 3.1})
    assert draw_against_time(study, []) is None


def test_ablations_tell_their_gradient_norms(tmp_path: Path) -> None:
    trials = ablate(BASE, ["post-norm"], num_seeds=2)
    study = open_study(tmp_path / "a", kind="ablate", base=BASE, trials=trials)
    _write_rows(study, seconds={trial.name: 1.0 for trial in trials}, norm=1.75)
    page = render_study(study)
    assert "gradient norm, median" in page
    assert page.count('<td class="number">1.75</td>') == 4, "median and 95th percentile of two"
    assert page.count('<td class="number">100%</td>') == 2, "clipped at 1"


def test_a_study_is_exported_with_its_own_pictures_and_table(tmp_path: Path) -> None:
    study = _sweep(tmp_path, "training.batch-size=1,8")
    _write_rows(study, seconds={"batch-size=1": 100.0, "batch-size=8": 20.0})
    _end(study, {"batch-size=1": 3.0, "batch-size=8": 3.1})
    written = write_report(study.path, export=tmp_path / "out")
    names = {path.name for path in written}
    assert {"trials.svg", "batch-sizes.svg", "study.csv", "study.tex", "runs.csv"} <= names
    root = ElementTree.parse(tmp_path / "out" / "trials.svg").getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "Final losses" in texts and "training.batch-size" in texts
    assert (tmp_path / "out" / "study.csv").read_text().splitlines()[1].startswith("batch-size=1,3")
