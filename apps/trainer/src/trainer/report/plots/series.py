"""Select the quantities to plot over steps, tokens and seconds, thinned to a drawable size.

Stage: RunHistory -> *Plot* -> drawing. Not here: pixels (`svg.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from trainer.evaluation.curve import smooth
from trainer.monitoring.metrics import MetricsRow
from trainer.report.history import RunHistory

_MAX_POINTS = 600  # per line; a plot is about as many pixels wide
_MAX_POINTS_OF_ALL = 12_000  # per plot: pages of many runs stay small

Style = Literal["raw", "smooth", "dots"]


class Sample(NamedTuple):
    """One value, and the step, tokens and time at which it was measured."""

    step: int
    tokens: int
    seconds: float
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One line, or one row of dots."""

    run: int
    """Index of its run."""
    colour: int
    """That of its run, or another to distinguish it on the plot of a single run."""
    label: str
    style: Style
    """raw: thin, every measurement; smooth: bold, a moving mean; dots: joined evaluations."""
    samples: list[Sample]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """One quantity of every run."""

    key: str
    title: str
    unit: str
    series: list[Series]
    is_log: bool = False
    """Whether the value axis is logarithmic by default."""
    target: float | None = None
    """A reference value, drawn as a dashed line."""
    target_label: str = ""


def build_plots(histories: Sequence[RunHistory]) -> list[Plot]:
    """Return the plots that these runs have numbers for."""
    limit = max(50, min(_MAX_POINTS, _MAX_POINTS_OF_ALL // (2 * max(len(histories), 1))))
    plots = [
        _loss_plot(histories, limit),
        _bits_plot(histories, limit),
        _gradient_plot(histories, limit),
        _rows_plot(histories, limit, "tokens_per_second", "Training speed", "tokens per second"),
        _rows_plot(histories, limit, "learning_rate", "Learning rate", "at each update"),
    ]
    return [plot for plot in plots if plot.series]


def _loss_plot(histories: Sequence[RunHistory], limit: int) -> Plot:
    series: list[Series] = []
    for run, history in enumerate(histories):
        train = _samples(history.train, "loss")
        series += _raw_and_smooth(run, f"{history.name}, training", train, limit)
        series += _validation(run, history, limit, colour=run if len(histories) > 1 else 1)
    targets = {history.config.evaluation.target_loss for history in histories} - {None}
    target = targets.pop() if len(targets) == 1 else None
    label = "" if target is None else f"target {target:g}"
    return Plot(
        key="loss",
        title="Loss",
        unit="nats per token",
        series=series,
        target=target,
        target_label=label,
    )


def _bits_plot(histories: Sequence[RunHistory], limit: int) -> Plot:
    series: list[Series] = []
    for run, history in enumerate(histories):
        if (factor := history.bits_per_nat_token) is not None:
            series += _validation(run, history, limit, colour=run, factor=factor)
    return Plot(key="bits", title="Bits per byte", unit="of validation text", series=series)


def _gradient_plot(histories: Sequence[RunHistory], limit: int) -> Plot:
    plot = _rows_plot(histories, limit, "grad_norm", "Gradient norm", "before clipping")
    limits = {history.config.optimizer.max_grad_norm for history in histories}
    clipped = limits.pop() if len(limits) == 1 else None
    return replace(
        plot,
        is_log=all(sample.value > 0 for one in plot.series for sample in one.samples),
        target=clipped,
        target_label="" if clipped is None else f"clipped above {clipped:g}",
    )


def _rows_plot(
    histories: Sequence[RunHistory], limit: int, key: str, title: str, unit: str
) -> Plot:
    series: list[Series] = []
    for run, history in enumerate(histories):
        samples = _samples(history.train, key)
        if key == "learning_rate":  # has no noise
            series += _line(run, history.name, "smooth", thin(samples, limit))
        else:
            series += _raw_and_smooth(run, history.name, samples, limit)
    return Plot(key=key, title=title, unit=unit, series=series)


def _validation(
    run: int, history: RunHistory, limit: int, *, colour: int, factor: float = 1.0
) -> list[Series]:
    samples = thin(_samples(history.evaluations, "loss", factor=factor), limit)
    return _line(run, f"{history.name}, validation", "dots", samples, colour=colour)


def _raw_and_smooth(run: int, label: str, samples: list[Sample], limit: int) -> list[Series]:
    means = smooth([(sample.step, sample.value) for sample in samples])
    smoothed = [s._replace(value=mean) for s, (_, mean) in zip(samples, means, strict=True)]
    raw = _line(run, label, "raw", thin(samples, limit))
    return raw + _line(run, label, "smooth", thin(smoothed, limit))


def _line(
    run: int, label: str, style: Style, samples: list[Sample], *, colour: int | None = None
) -> list[Series]:
    """Return one series; none without samples."""
    colour = run if colour is None else colour
    series = Series(run=run, colour=colour, label=label, style=style, samples=samples)
    return [series] if samples else []


def _samples(rows: Sequence[MetricsRow], key: str, *, factor: float = 1.0) -> list[Sample]:
    return [
        Sample(row["step"], row.get("tokens") or 0, row.get("seconds") or 0.0, value * factor)
        for row in rows
        if (value := row.get(key)) is not None and math.isfinite(value)
    ]


def thin(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Return about `limit` samples, with the lowest and highest value of every stretch.

    Spikes therefore remain visible, however long the run.

    >>> spiky = [Sample(step, 0, 0.0, 9.0 if step == 55 else 1.0) for step in range(100)]
    >>> kept = thin(spiky, 10)
    >>> len(kept) <= 12, max(sample.value for sample in kept)
    (True, 9.0)
    """
    if len(samples) <= limit:
        return list(samples)
    kept = {0, len(samples) - 1}
    num_stretches = max(limit // 2, 1)
    for stretch in range(num_stretches):
        first = stretch * len(samples) // num_stretches
        end = (stretch + 1) * len(samples) // num_stretches
        for pick in (min, max):
            kept.add(pick(range(first, end), key=lambda i: samples[i].value))
    return [samples[i] for i in sorted(kept)]
