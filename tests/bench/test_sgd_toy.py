"""SGD's toy: what was measured is what the closed form says."""

import json
import math
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.cli import main
from bench.sgd_toy import NUM_WEIGHTS, closed_form, descend


@pytest.mark.parametrize("rate", [1.0, 10.0, 70.0, 1000.0])
def test_measured_losses_are_those_of_the_closed_form(rate: float) -> None:
    descent = descend(rate, num_steps=10, seed=1)
    assert descent.losses == pytest.approx(closed_form(descent.losses[0], rate, 10), rel=1e-5)


@pytest.mark.parametrize(("rate", "updates"), [(50.0, 1), (100.0, 4)])
def test_the_rate_whose_factor_is_zero_ends_at_rounding(rate: float, updates: int) -> None:
    descent = descend(rate, num_steps=updates, seed=1)
    assert descent.predicted[-1] == 0.0
    assert descent.losses[-1] < 1e-12 * descent.losses[0]


def test_a_rate_of_as_many_as_there_are_weights_only_changes_signs_at_first() -> None:
    losses = descend(float(NUM_WEIGHTS), num_steps=2, seed=1).losses
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[2] < 0.2 * losses[1]


@pytest.mark.parametrize("rate", [1.0, 99.0, 150.0, 300.0, 1000.0])
def test_the_weights_grow_for_as_many_updates_as_is_said(rate: float) -> None:
    descent = descend(rate, num_steps=150, seed=1)
    exact = closed_form(1.0, rate, 150)
    turn = descent.num_growing_steps
    assert all(after >= before for before, after in pairwise(exact[: turn + 1]))
    assert exact[turn + 1] < exact[turn]


def test_the_command_writes_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = ["--json", str(tmp_path / "x.json"), "--svg", str(tmp_path / "x.svg")]
    monkeypatch.setattr(sys, "argv", ["bench", "sgd-toy", "--steps", "60", *outputs])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "rate 1000" in capsys.readouterr().out
    descents = json.loads((tmp_path / "x.json").read_text())["descents"]
    assert [descent["rate"] for descent in descents] == [1, 10, 100, 1000]
    assert descents[-1]["losses"][60] is None  # beyond float32
    curves = ElementTree.parse(tmp_path / "x.svg").findall("{*}polyline")
    assert len(curves) == 4
    assert not any(
        math.isnan(float(at)) for at in curves[-1].get("points").replace(",", " ").split()
    )


@pytest.mark.parametrize("rates", ["0", "-1", "inf", "nan", "1,2,3,4,5"])
def test_rates_that_make_no_sense_are_refused(
    rates: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "sgd-toy", f"--rates={rates}"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "name one to four rates above zero" in capsys.readouterr().err
