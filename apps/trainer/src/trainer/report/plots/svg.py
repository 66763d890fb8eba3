"""Draw a plot as SVG that stands by itself on paper, and that a page's script can redraw.

Stage: Plot -> *SVG* -> page, exports. The ticks of each way to look at it (against steps, tokens or
time; linear or logarithmic) are drawn, and all but one hidden: the script only moves points.
"""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement

from trainer.evaluation.axes import Axis, linear_axis, log_axis, with_margin
from trainer.report.plots.series import Plot, Sample, Series
from trainer.report.units import time_unit

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 78, 700, 18, 340
NUM_COLOURS = 8
X_AXES = {"steps": "optimizer steps", "tokens": "training tokens", "seconds": "training time"}
_HIGHEST_SHARE = 0.08  # the first share of a loss curve may stick out of the top


def draw_plot(plot: Plot, *, x_axis: str = "steps", names: Sequence[str] = ()) -> Element:
    """Return an `<svg>` element.

    Args:
        plot: has at least one series.
        x_axis: what the values are drawn against: steps, tokens or seconds.
        names: of the runs, for a key within the drawing; none: the page has its own.
    """
    x, y = x_axes(plot)[x_axis], y_axes(plot)["log" if plot.is_log else "linear"]
    height = HEIGHT + 22 * len(names)
    root = Element("svg", {"viewBox": f"0 0 {WIDTH} {height}", "role": "img"})
    root.set("aria-label", f"{plot.title}, {plot.unit}, against {X_AXES[x_axis]}")
    clip = SubElement(SubElement(root, "defs"), "clipPath", {"id": f"frame-{plot.key}"})
    box = {"x": LEFT, "y": TOP - 6, "width": RIGHT - LEFT + 6, "height": BOTTOM - TOP + 6}
    SubElement(clip, "rect", {key: f"{value}" for key, value in box.items()})
    for name, axis in y_axes(plot).items():
        _draw_y_ticks(root, axis, name=name, is_shown=axis == y)
    for name, axis in x_axes(plot).items():
        _draw_x_ticks(root, axis, name=name, is_shown=name == x_axis)
    line(root, LEFT, BOTTOM, RIGHT, BOTTOM, "axis")
    target = None  # its place on the page, where it is within
    if plot.target is not None and y.low <= plot.target <= y.high:
        target = y.place(plot.target)
        line(root, LEFT, target, RIGHT, target, "target")
    lines = SubElement(root, "g", {"clip-path": f"url(#frame-{plot.key})"})
    num_runs = len({series.run for series in plot.series})
    for index, series in enumerate(plot.series):
        group = _draw_series(lines, series, x, y, x_axis=x_axis, index=index)
        if series.style == "raw" and num_runs > 1:  # one cloud would hide the other
            group.set("visibility", "hidden")
    if target is not None:  # above the curves, which may pass where it stands
        text(root, RIGHT, target - 6, plot.target_label, "target-label end")
    for index, name in enumerate(names):
        place = HEIGHT + 22 * index + 4
        line(root, LEFT, place, LEFT + 24, place, f"smooth run-{index % NUM_COLOURS}")
        text(root, LEFT + 32, place + 4, name, "ink")
    return root


def x_axes(plot: Plot) -> dict[str, Axis]:
    """Return the axis against steps, tokens and seconds."""
    axes = {}
    for name in X_AXES:
        highest = max(_when(sample, name) for sample in _all_samples(plot))
        axes[name] = linear_axis(0, highest or 1, start=LEFT, end=RIGHT, max_ticks=8)
    return axes


def y_axes(plot: Plot) -> dict[str, Axis]:
    """Return the linear axis of the values, and the logarithmic one where all are positive."""
    low, high = _value_range(plot)
    bottom, top = with_margin(low, high)
    axes = {"linear": linear_axis(bottom, top, start=BOTTOM, end=TOP, max_ticks=8)}
    if low > 0:
        bottom, top = with_margin(low, high, is_log=True)
        axes["log"] = log_axis(bottom, top, start=BOTTOM, end=TOP)
    return axes


def _value_range(plot: Plot) -> tuple[float, float]:
    """Return the values to show; the steep begin of a run may leave a linear page at the top."""
    runs: dict[int, list[Sample]] = {}
    num_runs = len({series.run for series in plot.series})
    for series in plot.series:
        if series.style != "raw" or num_runs == 1:  # of several runs it is hidden at first
            runs.setdefault(series.run, []).extend(series.samples)
    low, high = (pick(s.value for run in runs.values() for s in run) for pick in (min, max))
    if plot.key == "loss":
        # Of one run nearly all is to be seen, of each of the others at least its second half.
        highest = [_highest_after(_HIGHEST_SHARE, samples) for samples in runs.values()]
        high = max(min(highest), *(_highest_after(0.5, samples) for samples in runs.values()))
        low = low if plot.target is None else min(low, plot.target)
    return low, high


def _highest_after(share: float, samples: Sequence[Sample]) -> float:
    last = max(sample.step for sample in samples)
    return max(sample.value for sample in samples if sample.step >= share * last)


def _all_samples(plot: Plot) -> list[Sample]:
    return [sample for series in plot.series for sample in series.samples]


def _when(sample: Sample, x_axis: str) -> float:
    return {"steps": sample.step, "tokens": sample.tokens, "seconds": sample.seconds}[x_axis]


def _draw_series(
    parent: Element, series: Series, x: Axis, y: Axis, *, x_axis: str, index: int
) -> Element:
    colour = f"run-{series.colour % NUM_COLOURS}"
    group = SubElement(
        parent, "g", {"class": f"{series.style} {colour}", "data-series": str(index)}
    )
    group.set("data-run", str(series.run))
    places = [
        (x.place(_when(sample, x_axis)), y.place(sample.value))
        for sample in series.samples
        if sample.value > 0 or not y.is_log
    ]
    if len(places) > 1:
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        SubElement(group, "polyline", {"points": points})
    if series.style == "dots" or len(places) == 1:
        for px, py in places:
            SubElement(group, "circle", {"cx": f"{px:.1f}", "cy": f"{py:.1f}", "r": "4"})
    return group


def _draw_y_ticks(root: Element, axis: Axis, *, name: str, is_shown: bool) -> None:
    group = SubElement(root, "g", {"class": "ticks", "data-axis": name})
    if not is_shown:
        group.set("visibility", "hidden")
    for tick, label in zip(axis.ticks, axis.labels, strict=True):
        line(group, LEFT, axis.place(tick), RIGHT, axis.place(tick), "grid")
        text(group, LEFT - 10, axis.place(tick) + 4, label, "soft end")


def _draw_x_ticks(root: Element, axis: Axis, *, name: str, is_shown: bool) -> None:
    group = SubElement(root, "g", {"class": "ticks", "data-axis": name})
    if not is_shown:
        group.set("visibility", "hidden")
    scale, unit = time_unit(axis.high) if name == "seconds" else (1.0, "")
    shown = linear_axis(0, axis.high / scale, start=LEFT, end=RIGHT, max_ticks=8)
    for index, (tick, label) in enumerate(zip(shown.ticks, shown.labels, strict=True)):
        line(group, shown.place(tick), BOTTOM, shown.place(tick), BOTTOM + 5, "axis")
        odd = " odd" if index % 2 else ""
        text(group, shown.place(tick), BOTTOM + 22, label, f"soft middle{odd}")
    title = f"{X_AXES[name]}, {unit}" if unit else X_AXES[name]
    text(group, (LEFT + RIGHT) / 2, BOTTOM + 46, title, "soft middle")


def draw_frame(root: Element, x: Axis, y: Axis, *, title: str) -> None:
    """Draw the ticks of two axes; `title` names what is along x."""
    for tick, label in zip(y.ticks, y.labels, strict=True):
        line(root, LEFT, y.place(tick), RIGHT, y.place(tick), "grid")
        text(root, LEFT - 10, y.place(tick) + 4, label, "soft end")
    for index, (tick, label) in enumerate(zip(x.ticks, x.labels, strict=True)):
        line(root, x.place(tick), BOTTOM, x.place(tick), BOTTOM + 5, "axis")
        odd = " odd" if index % 2 else ""
        text(root, x.place(tick), BOTTOM + 22, label, f"soft middle{odd}")
    line(root, LEFT, BOTTOM, RIGHT, BOTTOM, "axis")
    text(root, (LEFT + RIGHT) / 2, BOTTOM + 46, title, "soft middle")


def line(parent: Element, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
    """Add a line; places in pixels."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    attributes = {key: f"{round(value, 1):g}" for key, value in ends.items()}
    SubElement(parent, "line", {"class": style, **attributes})


def text(parent: Element, x: float, y: float, content: str, style: str) -> None:
    """Add a text at a place in pixels."""
    place = {"x": f"{round(x, 1):g}", "y": f"{round(y, 1):g}"}
    SubElement(parent, "text", {"class": style, **place}).text = content


def axis_ends(axis: Axis) -> list[float]:
    """Return what the page's script needs to place a value: ends in values, ends in pixels."""
    assert math.isfinite(axis.low) and math.isfinite(axis.high)
    return [axis.low, axis.high, axis.start, axis.end]
