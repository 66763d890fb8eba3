"""Draw what batch sizes reached against the time they took: fewer, larger steps beside many small.

Stage: study -> *SVG* -> page. A dot is a trial, a line joins the batch sizes at their best setting.
"""

import statistics
from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement

from trainer.axes import Axis, linear_axis, with_margin
from trainer.experiments import Point, Study, points
from trainer.report.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    draw_frame,
    text,
    time_unit,
)
from trainer.report.history import RunHistory
from trainer.report.study_drawing import loss_axis

_FIELD = "training.batch-size"


def draw_against_time(study: Study, histories: Sequence[RunHistory]) -> Element | None:
    """Return the drawing; None: no two batch sizes were swept to an end."""
    seconds = {history.name: _seconds(history) for history in histories}
    best = _best_by_size([p for p in points(study) if _FIELD in p.changes and p.mean is not None])
    if study.kind != "sweep" or len(best) < 2 or not all(_times(p, seconds) for p in best):
        return None
    times = [time for point in best for time in _times(point, seconds)]
    scale, unit = time_unit(max(times))
    low, high = with_margin(0.0, max(times) / scale)
    x = linear_axis(max(0.0, low), high, start=LEFT, end=RIGHT, max_ticks=8)
    y = loss_axis(best, start=BOTTOM, end=TOP)
    root = Element("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img"})
    root.set("aria-label", "validation loss against training time, by batch size")
    draw_frame(root, x, y, title=f"training time, {unit}")
    _draw_line(root, best, {name: time / scale for name, time in seconds.items()}, x, y)
    return root


def _draw_line(
    root: Element, best: Sequence[Point], seconds: Mapping[str, float], x: Axis, y: Axis
) -> None:
    means = [(x.place(statistics.fmean(_times(p, seconds))), y.place(p.mean or 0.0)) for p in best]
    part = SubElement(root, "g", {"class": "smooth run-0"})
    SubElement(part, "polyline", {"points": " ".join(f"{a:.1f},{b:.1f}" for a, b in means)})
    dots = SubElement(root, "g", {"class": "dots run-0"})
    for point, (left, top) in zip(best, means, strict=True):
        for time, loss in zip(_times(point, seconds), point.losses, strict=True):
            place = {"cx": f"{x.place(time):.1f}", "cy": f"{y.place(loss):.1f}", "r": "4.5"}
            dot = SubElement(dots, "circle", place)
            SubElement(dot, "title").text = f"{point.name}: {loss:.4f}"
        text(root, left, top - 10, f"{point.changes[_FIELD]}", "ink middle")


def _best_by_size(listed: Sequence[Point]) -> list[Point]:
    """Return the best point of each batch size, sizes ascending."""
    best: dict[object, Point] = {}
    for point in sorted(listed, key=lambda point: -(point.mean or 0.0)):
        best[point.changes[_FIELD]] = point
    return [best[size] for size in sorted(best, key=lambda size: float(str(size)))]


def _times(point: Point, seconds: Mapping[str, float]) -> list[float]:
    return [seconds[trial.name] for trial in point.trials if trial.name in seconds]


def _seconds(history: RunHistory) -> float:
    rows = history.train or history.evaluations
    return (rows[-1].get("seconds") or 0.0) if rows else 0.0
