"""Drawings: what of the curves is within the frame."""

import pytest

from trainer.report.plots.series import Plot, Sample, Series
from trainer.report.plots.svg import y_axes


def _series(run: int, num_steps: int, style: str = "smooth", noise: float = 0.0) -> Series:
    """A loss that falls from 8 by halves of its way to 3, over 100 tokens however many steps."""
    samples = []
    for step in range(1, num_steps + 1):
        share = step / num_steps
        value = 3 + 5 * 0.5 ** (10 * share) + noise * (-1) ** step
        samples.append(Sample(step, round(100 * share), share, value))
    return Series(run=run, colour=run, label="", style=style, samples=samples)


def _range(*series: Series) -> tuple[float, float]:
    axis = y_axes(Plot(key="loss", title="", unit="", series=list(series)))["linear"]
    return axis.low, axis.high


def test_the_steep_begin_of_a_run_is_cut_off() -> None:
    low, high = _range(_series(0, 1000))
    assert low < 3
    assert 5.5 < high < 7


def test_a_run_of_few_steps_beside_a_long_one_is_seen() -> None:
    few, many = _series(0, 20), _series(1, 10_000)
    raised = Series(
        run=0,
        colour=0,
        label="",
        style="smooth",
        samples=[sample._replace(value=sample.value + 6) for sample in few.samples],
    )
    low, high = _range(raised, many)
    assert low < 3
    assert high > max(sample.value for sample in raised.samples[10:])


@pytest.mark.parametrize("num_runs", [1, 2])
def test_raw_losses_that_are_hidden_at_first_take_no_room(num_runs: int) -> None:
    series = [
        one
        for run in range(num_runs)
        for one in (_series(run, 1000), _series(run, 1000, "raw", noise=20.0))
    ]
    assert (_range(*series)[1] > 20) == (num_runs == 1)
