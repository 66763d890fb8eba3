"""Draw the loss against a rising learning rate, with the places that were read off.

Stage: study -> *SVG* -> page. A seed is a colour: thin, every step; bold, the moving mean.
"""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement

from trainer.evaluation.axes import Axis, linear_axis, log_axis, with_margin
from trainer.experiments import Study
from trainer.experiments.lr_range import DIVERGED_FACTOR, RangeFindings
from trainer.report.findings.ranges import best_of_sweep, read_ranges
from trainer.report.plots.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    NUM_COLOURS,
    RIGHT,
    TOP,
    WIDTH,
    draw_frame,
    line,
    text,
)


def draw_range(study: Study) -> Element | None:
    """Return the drawing; None: too little is known yet."""
    found = list(read_ranges(study).values())
    if not found:
        return None
    rates = [rate for one in found for rate in one.rates]
    x = log_axis(min(rates), max(rates), start=LEFT, end=RIGHT)
    y = _loss_axis(found)
    root = Element("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img"})
    root.set("aria-label", "training loss against the learning rate")
    draw_frame(root, x, y, title="learning rate")
    for index, one in enumerate(found):
        _draw_one(root, one, x, y, colour=index % NUM_COLOURS)
    places = _places(found)
    best = best_of_sweep(study)
    if best is not None:
        places["best of the sweep"] = best[1]
    for index, (name, rate) in enumerate(sorted(places.items(), key=lambda item: item[1])):
        if x.low <= rate <= x.high:
            _mark(root, x.place(rate), name, height=TOP + 8 + 24 * index)
    return root


def _draw_one(root: Element, one: RangeFindings, x: Axis, y: Axis, *, colour: int) -> None:
    for style, values in (("raw", one.losses), ("smooth", one.smoothed)):
        places = [
            f"{x.place(rate):.1f},{max(TOP, y.place(value)):.1f}"
            for rate, value in zip(one.rates, values, strict=False)
            if math.isfinite(value)
        ]
        group = SubElement(root, "g", {"class": f"{style} run-{colour}"})
        SubElement(group, "polyline", {"points": " ".join(places)})


def _places(found: Sequence[RangeFindings]) -> dict[str, float]:
    """Return what to mark: of the first seed, so that each mark lies on a line that is there."""
    first = found[0]
    places = {"steepest": first.steepest, "lowest": first.lowest, "suggested": first.suggested}
    return places if first.edge is None else places | {"edge": first.edge}


def _mark(root: Element, place: float, name: str, *, height: float) -> None:
    line(root, place, height, place, BOTTOM, "target")
    is_left = place > (LEFT + RIGHT) / 2
    text(
        root, place - 5 if is_left else place + 5, height + 4, name, "ink end" if is_left else "ink"
    )


def _loss_axis(found: Sequence[RangeFindings]) -> Axis:
    """Return an axis that holds the curves up to where they count as diverged."""
    lowest = min(min(one.smoothed) for one in found)
    highest = max(one.smoothed[0] for one in found)
    finite = [loss for one in found for loss in one.losses if math.isfinite(loss)]
    top = min(max(finite), max(highest, DIVERGED_FACTOR * lowest))
    low, high = with_margin(min(lowest, min(finite)), top)
    return linear_axis(low, high, start=BOTTOM, end=TOP, max_ticks=8)
