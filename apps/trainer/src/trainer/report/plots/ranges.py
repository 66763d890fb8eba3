"""Draw the loss against a rising learning rate, with the rates that were read off.

Stage: study -> *SVG* -> page. Each seed has a colour: every step thin, the moving mean bold.
"""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement

from trainer.evaluation.axes import (
    Axis,
    draw_frame,
    line,
    linear_axis,
    log_axis,
    polyline,
    text,
    with_margin,
)
from trainer.experiments import Study
from trainer.experiments.lr_range import DIVERGED_FACTOR, RangeFindings
from trainer.report.findings.ranges import best_of_sweep, read_ranges
from trainer.report.plots.svg import BOTTOM, LEFT, RIGHT, TOP, canvas, colour_of


def draw_range(study: Study) -> Element | None:
    """Return the drawing; None: too few steps are known."""
    found = list(read_ranges(study).values())
    if not found:
        return None
    rates = [rate for one in found for rate in one.rates]
    x = log_axis(min(rates), max(rates), start=LEFT, end=RIGHT)
    y = _loss_axis(found)
    root = canvas("training loss against the learning rate")
    draw_frame(root, x, y, title="learning rate")
    for index, one in enumerate(found):
        for style, losses in (("raw", one.losses), ("smooth", one.smoothed)):
            group = SubElement(root, "g", {"class": f"{style} {colour_of(index)}"})
            pairs = zip(one.rates, losses, strict=False)
            finite = [(rate, loss) for rate, loss in pairs if math.isfinite(loss)]
            polyline(group, [(x.place(rate), max(TOP, y.place(loss))) for rate, loss in finite])
    # Only the first seed is marked, so that every mark lies on a line.
    names = ("steepest", "lowest", "suggested", "edge")
    marks = [(rate, name) for name in names if (rate := getattr(found[0], name)) is not None]
    best = best_of_sweep(study)
    marks += [] if best is None else [(best[1], "best of the sweep")]
    for index, (rate, name) in enumerate(sorted(marks, key=lambda mark: mark[0])):
        if x.low <= rate <= x.high:
            _mark(root, x.place(rate), name, height=TOP + 8 + 24 * index)
    return root


def _mark(root: Element, place: float, name: str, *, height: float) -> None:
    line(root, place, height, place, BOTTOM, "target")
    is_right = place > (LEFT + RIGHT) / 2
    gap, style = (-5, "ink end") if is_right else (5, "ink")
    text(root, place + gap, height + 4, name, style)


def _loss_axis(found: Sequence[RangeFindings]) -> Axis:
    """Return an axis that shows the curves up to the loss that counts as diverged."""
    lowest = min(min(one.smoothed) for one in found)
    highest = max(one.smoothed[0] for one in found)
    finite = [loss for one in found for loss in one.losses if math.isfinite(loss)]
    top = min(max(finite), max(highest, DIVERGED_FACTOR * lowest))
    low, high = with_margin(min(lowest, min(finite)), top)
    return linear_axis(low, high, start=BOTTOM, end=TOP, max_ticks=8)
