"""Draw the final losses of a study, against the swept value or variant by variant.

Stage: study -> *SVG* -> page, exports. A dot is a trial, a line joins means; trials that did not
finish are marked at the top of the frame.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from xml.etree.ElementTree import Element, SubElement

from trainer.config.field_checks import is_number
from trainer.evaluation.axes import (
    Axis,
    dot,
    draw_frame,
    line,
    linear_axis,
    log_axis,
    polyline,
    text,
    with_margin,
)
from trainer.experiments import Point, Study, best_first, points
from trainer.report.findings.studies import BASELINE, swept_fields
from trainer.report.plots.svg import BOTTOM, LEFT, RIGHT, TOP, canvas, colour_of

_ROW = 34
_NAMES = 240  # pixels for the names of variants
_LOG_FROM = 20  # ratio of two values


def draw_study(study: Study) -> Element | None:
    """Return the drawing; None: no trial has finished."""
    listed = points(study)
    if not any(point.losses for point in listed):
        return None
    field = _numeric_field(study, listed)
    if study.kind == "sweep" and field is not None:
        return _draw_sweep(study, listed, field)
    return _draw_rows(listed)


def _numeric_field(study: Study, listed: Sequence[Point]) -> str | None:
    """Return the numeric field with the most values; None: no field has two."""
    best: tuple[int, str | None] = (1, None)
    for field in swept_fields(study):
        values = {point.changes.get(field) for point in listed}
        if all(map(is_number, values)) and len(values) > best[0]:
            best = (len(values), field)
    return best[1]


def _draw_sweep(study: Study, listed: Sequence[Point], field: str) -> Element:
    x = _value_axis([point.changes[field] for point in listed])
    y = loss_axis(listed, start=BOTTOM, end=TOP)
    others = [name for name in swept_fields(study) if name != field]
    groups: dict[tuple[object, ...], list[Point]] = {}
    for point in sorted(listed, key=lambda point: _rank(point, [*others, field])):
        groups.setdefault(tuple(point.changes.get(name) for name in others), []).append(point)
    key = [
        ", ".join(f"{n.rpartition('.')[2]} {v}" for n, v in zip(others, values, strict=True))
        for values in groups
    ]
    root = canvas(f"validation loss against {field}", key=key if others else ())
    draw_frame(root, x, y, title=field)
    for index, group in enumerate(groups.values()):
        _draw_group(root, group, field, x, y, colour=colour_of(index))
    return root


def _rank(point: Point, names: Sequence[str]) -> list[tuple[bool, object]]:
    """Return a key that sorts points by the values of fields: numbers by size, then words."""
    values = [point.changes.get(name) for name in names]
    return [(False, v) if is_number(v) else (True, str(v)) for v in values]


def _draw_group(
    root: Element, group: Sequence[Point], field: str, x: Axis, y: Axis, *, colour: str
) -> None:
    means = [(x.place(p.changes[field]), y.place(p.mean)) for p in group if p.mean is not None]
    polyline(SubElement(root, "g", {"class": f"smooth {colour}"}), means)
    dots = SubElement(root, "g", {"class": f"dots {colour}"})
    for point in group:
        place = x.place(point.changes[field])
        for loss in point.losses:
            dot(dots, place, y.place(loss), tip=f"{point.name}: {loss:.4f}")
        _mark_lost(root, point, place)


def _mark_lost(root: Element, point: Point, place: float) -> None:
    """Mark the statuses and losses of trials that did not finish at the top."""
    statuses = dict.fromkeys(o.status for o in point.outcomes if o.status != "finished")
    if not statuses:
        return
    text(root, place, TOP + 8, "\u00d7", "ink middle")
    labels = []
    for status in statuses:
        labels += [status, *(f"{loss:.4g}" for loss in point.losses_of(status))]
    for index, label in enumerate(labels):
        text(root, place, TOP + 24 + 16 * index, label, "soft middle")


def _draw_rows(listed: Sequence[Point]) -> Element:
    """Draw one row per point: a dot per trial, a bar at the mean, a line at the baseline's mean."""
    shown = sorted(best_first(list(listed)), key=lambda point: point.name != BASELINE)
    bottom = TOP + _ROW * len(shown)
    root = canvas("validation loss of each variant", height=bottom + 56)
    x = loss_axis(listed, start=_NAMES, end=RIGHT)
    for tick, label in zip(x.ticks, x.labels, strict=True):
        line(root, x.place(tick), TOP, x.place(tick), bottom, "grid")
        text(root, x.place(tick), bottom + 22, label, "soft middle")
    text(root, (_NAMES + RIGHT) / 2, bottom + 46, "validation loss, nats per token", "soft middle")
    if shown[0].name == BASELINE and shown[0].mean is not None:
        place = x.place(shown[0].mean)
        line(root, place, TOP, place, bottom, "target")
    for index, point in enumerate(shown):
        y = TOP + _ROW * (index + 0.5)
        is_whole = all(outcome.status == "finished" for outcome in point.outcomes)
        end = f", {point.shown}" if point.shown and not point.losses else ""
        name = point.name if is_whole else f"{point.name} ({point.status}{end})"
        text(root, _NAMES - 12, y + 4, name, "ink end")
        if point.mean is not None:
            place = x.place(point.mean)
            line(root, place, y - 9, place, y + 9, "smooth run-0")
        dots = SubElement(root, "g", {"class": "dots run-0"})
        for loss in point.losses:
            dot(dots, x.place(loss), y)
    return root


def _value_axis(values: Sequence[float]) -> Axis:
    """Return an axis, logarithmic if that spaces the values more evenly."""
    low, high = min(values), max(values)
    is_log = low > 0 and _widest_gap(list(map(math.log, values))) < _widest_gap(values)
    if len(set(values)) == 2:
        is_log = low > 0 and high / low >= _LOG_FROM
    low, high = with_margin(low, high, is_log=is_log)
    if is_log:
        return log_axis(low, high, start=LEFT, end=RIGHT)
    return linear_axis(low, high, start=LEFT, end=RIGHT, max_ticks=8)


def _widest_gap(values: Sequence[float]) -> float:
    """Return the widest gap between neighbours, as a share of the whole range."""
    ordered = sorted(set(values))
    return max(b - a for a, b in pairwise(ordered)) / (ordered[-1] - ordered[0])


def loss_axis(listed: Sequence[Point], *, start: float, end: float) -> Axis:
    """Return an axis that shows every final loss of some points."""
    losses = [loss for point in listed for loss in point.losses]
    low, high = with_margin(min(losses), max(losses))
    if high - low > 2 * low:  # one bad value must not flatten the others
        return log_axis(*with_margin(min(losses), max(losses), is_log=True), start=start, end=end)
    return linear_axis(low, high, start=start, end=end, max_ticks=8)
