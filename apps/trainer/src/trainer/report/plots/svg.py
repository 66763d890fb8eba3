"""Draw a plot as SVG that is complete on paper and that the script of a page can redraw.

Stage: Plot -> *SVG* -> page, exports. The ticks of every view (steps, tokens, time; linear,
logarithmic) are drawn, and only the chosen ones shown, so that the script only moves points.
Not here: the primitives of a drawing (`evaluation/axes.py`).
"""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement

from trainer.evaluation.axes import (
    Axis,
    dot,
    draw_x_ticks,
    draw_y_ticks,
    line,
    linear_axis,
    log_axis,
    polyline,
    text,
    with_margin,
)
from trainer.report.plots.series import Plot, Sample, Series
from trainer.report.units import time_unit

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 78, 700, 18, 340
NUM_COLOURS = 8
X_AXES = {"steps": "optimizer steps", "tokens": "training tokens", "seconds": "training time"}
_KEY_ROW = 22
_HIGHEST_SHARE = 0.08  # this first share of a loss curve may be cut off at the top


def draw_plot(plot: Plot, *, x_axis: str = "steps", names: Sequence[str] = ()) -> Element:
    """Return an `<svg>` element.

    Args:
        plot: has at least one series.
        x_axis: quantity of the x axis: steps, tokens or seconds.
        names: of the runs, for a key inside the drawing; empty: the page has its own.
    """
    x, y = x_axes(plot)[x_axis], y_axes(plot)["log" if plot.is_log else "linear"]
    root = canvas(f"{plot.title}, {plot.unit}, against {X_AXES[x_axis]}", key=names)
    clip = SubElement(SubElement(root, "defs"), "clipPath", {"id": f"frame-{plot.key}"})
    box = {"x": LEFT, "y": TOP - 6, "width": RIGHT - LEFT + 6, "height": BOTTOM - TOP + 6}
    SubElement(clip, "rect", {key: f"{value}" for key, value in box.items()})
    for name, axis in y_axes(plot).items():
        draw_y_ticks(_ticks(root, name, is_shown=axis == y), x, axis)
    for name, axis in x_axes(plot).items():
        scale, unit = time_unit(axis.high) if name == "seconds" else (1.0, "")
        scaled = linear_axis(0, axis.high / scale, start=LEFT, end=RIGHT, max_ticks=8)
        title = f"{X_AXES[name]}, {unit}" if unit else X_AXES[name]
        draw_x_ticks(_ticks(root, name, is_shown=name == x_axis), scaled, y, title=title)
    line(root, LEFT, BOTTOM, RIGHT, BOTTOM, "axis")
    target = plot.target if plot.target is not None and y.low <= plot.target <= y.high else None
    if target is not None:
        line(root, LEFT, y.place(target), RIGHT, y.place(target), "target")
    lines = SubElement(root, "g", {"clip-path": f"url(#frame-{plot.key})"})
    num_runs = len({series.run for series in plot.series})
    for index, series in enumerate(plot.series):
        group = _draw_series(lines, series, x, y, x_axis=x_axis, index=index)
        if series.style == "raw" and num_runs > 1:  # the clouds would hide one another
            group.set("visibility", "hidden")
    if target is not None:  # drawn over the curves, which may cross the label
        text(root, RIGHT, y.place(target) - 6, plot.target_label, "target-label end")
    return root


def canvas(label: str, *, height: int = HEIGHT, key: Sequence[str] = ()) -> Element:
    """Return an empty `<svg>`, with a description and a key of the colours below the frame."""
    height += _KEY_ROW * len(key)
    root = Element("svg", {"viewBox": f"0 0 {WIDTH} {height}", "role": "img", "aria-label": label})
    for index, name in enumerate(key):
        y = HEIGHT + _KEY_ROW * index + 4
        line(root, LEFT, y, LEFT + 24, y, f"smooth {colour_of(index)}")
        text(root, LEFT + 32, y + 4, name, "ink")
    return root


def colour_of(index: int) -> str:
    """Return the style class of a run's colour."""
    return f"run-{index % NUM_COLOURS}"


def x_axes(plot: Plot) -> dict[str, Axis]:
    """Return the axis for steps, tokens and seconds."""
    axes = {}
    for name in X_AXES:
        highest = max(_when(s, name) for series in plot.series for s in series.samples)
        axes[name] = linear_axis(0, highest or 1, start=LEFT, end=RIGHT, max_ticks=8)
    return axes


def y_axes(plot: Plot) -> dict[str, Axis]:
    """Return the linear axis of the values, and the logarithmic one if all are positive."""
    low, high = _value_range(plot)
    bottom, top = with_margin(low, high)
    axes = {"linear": linear_axis(bottom, top, start=BOTTOM, end=TOP, max_ticks=8)}
    if low > 0:
        bottom, top = with_margin(low, high, is_log=True)
        axes["log"] = log_axis(bottom, top, start=BOTTOM, end=TOP)
    return axes


def _value_range(plot: Plot) -> tuple[float, float]:
    """Return the range to show; the steep beginning of a run may leave the frame at the top."""
    runs: dict[int, list[Sample]] = {}
    num_runs = len({series.run for series in plot.series})
    for series in plot.series:
        if series.style != "raw" or num_runs == 1:  # otherwise hidden at first
            runs.setdefault(series.run, []).extend(series.samples)
    low, high = (pick(s.value for run in runs.values() for s in run) for pick in (min, max))
    if plot.key == "loss":
        # Show almost all of one run, and at least the second half of every other.
        highest = [_highest_after(_HIGHEST_SHARE, samples) for samples in runs.values()]
        high = max(min(highest), *(_highest_after(0.5, samples) for samples in runs.values()))
        low = low if plot.target is None else min(low, plot.target)
    return low, high


def _highest_after(share: float, samples: Sequence[Sample]) -> float:
    last = max(sample.step for sample in samples)
    return max(sample.value for sample in samples if sample.step >= share * last)


def _when(sample: Sample, x_axis: str) -> float:
    return {"steps": sample.step, "tokens": sample.tokens, "seconds": sample.seconds}[x_axis]


def _ticks(root: Element, name: str, *, is_shown: bool) -> Element:
    hidden = {} if is_shown else {"visibility": "hidden"}
    return SubElement(root, "g", {"class": "ticks", "data-axis": name, **hidden})


def _draw_series(
    parent: Element, series: Series, x: Axis, y: Axis, *, x_axis: str, index: int
) -> Element:
    style = f"{series.style} {colour_of(series.colour)}"
    numbers = {"data-series": str(index), "data-run": str(series.run)}
    group = SubElement(parent, "g", {"class": style, **numbers})
    points = [
        (x.place(_when(sample, x_axis)), y.place(sample.value))
        for sample in series.samples
        if sample.value > 0 or not y.is_log
    ]
    polyline(group, points)
    if series.style == "dots" or len(points) == 1:
        for point in points:
            dot(group, *point)
    return group
