"""Draw the loss that each batch size reached against the training time it took.

Stage: study -> *SVG* -> page. A dot is a trial; a line joins the batch sizes at their best setting.
"""

import statistics
from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement

from trainer.evaluation.axes import dot, draw_frame, linear_axis, polyline, text, with_margin
from trainer.experiments import Point, Study, points
from trainer.report.history import RunHistory
from trainer.report.plots.studies import loss_axis
from trainer.report.plots.svg import BOTTOM, LEFT, RIGHT, TOP, canvas
from trainer.report.units import time_unit

_FIELD = "training.batch-size"


def draw_against_time(study: Study, histories: Sequence[RunHistory]) -> Element | None:
    """Return the drawing; None: fewer than two batch sizes of a sweep have finished."""
    best = _best_by_size([p for p in points(study) if _FIELD in p.changes and p.mean is not None])
    seconds = {history.name: _seconds(history) for history in histories}
    reached = [_reached(study, point, seconds) for point in best]
    if study.kind != "sweep" or len(best) < 2 or not all(reached):
        return None
    longest = max(time for dots in reached for time, _ in dots)
    scale, unit = time_unit(longest)
    low, high = with_margin(0.0, longest / scale)
    x = linear_axis(max(0.0, low), high, start=LEFT, end=RIGHT, max_ticks=8)
    y = loss_axis(best, start=BOTTOM, end=TOP)
    root = canvas("validation loss against training time, by batch size")
    draw_frame(root, x, y, title=f"training time, {unit}")
    means = [
        (x.place(statistics.fmean(time / scale for time, _ in dots)), y.place(point.mean or 0.0))
        for point, dots in zip(best, reached, strict=True)
    ]
    polyline(SubElement(root, "g", {"class": "smooth run-0"}), means)
    group = SubElement(root, "g", {"class": "dots run-0"})
    for point, dots, (left, top) in zip(best, reached, means, strict=True):
        for time, loss in dots:
            dot(group, x.place(time / scale), y.place(loss), tip=f"{point.name}: {loss:.4f}")
        text(root, left, top - 10, f"{point.changes[_FIELD]}", "ink middle")
    return root


def _best_by_size(listed: Sequence[Point]) -> list[Point]:
    """Return the best point of each batch size, sizes ascending."""
    best: dict[object, Point] = {}
    for point in sorted(listed, key=lambda point: -(point.mean or 0.0)):
        best[point.changes[_FIELD]] = point
    return [best[size] for size in sorted(best, key=lambda size: float(str(size)))]


def _reached(study: Study, point: Point, seconds: Mapping[str, float]) -> list[tuple[float, float]]:
    """Return (seconds, validation loss) of each finished trial."""
    outcomes = [(trial.name, study.outcome(trial)) for trial in point.trials]
    return [
        (seconds[name], outcome.validation_loss)
        for name, outcome in outcomes
        if name in seconds and outcome is not None and outcome.validation_loss is not None
    ]


def _seconds(history: RunHistory) -> float:
    rows = history.train or history.evaluations
    return (rows[-1].get("seconds") or 0.0) if rows else 0.0
