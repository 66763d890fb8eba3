"""Draw the losses against tokens.

Stage: results -> *SVG*: one curve per contender, the mean over its seeds, and a line at the
baseline's end. Colours follow the reader's light or dark scheme.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from bench.display.svg import Point, canvas, line, text, write_svg
from bench.learning.results import Results
from bench.learning.trials import Contender

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 880, 460, 64, 848, 84, 404
_SHOWN_ABOVE_END = 0.9  # nats above the end to draw

_LIGHT = """.goal { stroke: #8c959f; stroke-dasharray: 6 4 }
.c0 { stroke: #656d76 } .c1 { stroke: #2f6fde } .c2 { stroke: #d9480f } .c3 { stroke: #2b8a3e }
"""
_DARK = """.goal { stroke: #656c76 }
.c0 { stroke: #9198a1 } .c1 { stroke: #6ea8fe } .c2 { stroke: #ff922b } .c3 { stroke: #51cf66 }
"""


def write_learning_chart(contenders: Sequence[Contender], results: Results, path: Path) -> None:
    """Draw each contender's validation loss at its best rate; the file is complete or absent.

    Of several token budgets, it is the smallest that reached the baseline's end, or the largest.

    Raises:
        ValueError: the baseline has not been trained yet.
    """
    curves = {
        contender.name: curve
        for contender in contenders
        if results.rates(contender)
        if (curve := mean_curve(_drawn(contender, contenders[0], results)))
    }
    baseline = contenders[0].name
    if baseline not in curves:
        raise ValueError(
            f"{baseline} has not been trained yet, so there is no goal to draw in {path}"
        )
    goal = curves[baseline][-1][1]
    root = canvas(
        (_WIDTH, _HEIGHT),
        name="validation loss against training tokens",
        light=_LIGHT,
        dark=_DARK,
        heading="Validation loss by tokens; dashed: AdamW's end",
        at=(_LEFT, 34),
    )
    most_tokens = max(curve[-1][0] for curve in curves.values())
    low = min(goal, *(loss for curve in curves.values() for _, loss in curve)) - 0.05
    high = goal + _SHOWN_ABOVE_END

    def place(point: Point) -> Point:
        tokens, loss = point
        down = (high - loss) / (high - low)
        return _LEFT + tokens / most_tokens * (_RIGHT - _LEFT), _TOP + down * (_BOTTOM - _TOP)

    _draw_frame(root, place, most_tokens, low=low, high=high)
    (_, y), x = place((0, goal)), float(_LEFT)
    line(root, (_LEFT, y), (_RIGHT, y), "goal", **{"stroke-width": "1"})
    for index, (name, curve) in enumerate(curves.items()):
        points = [place(point) for point in curve if point[1] <= high]
        places = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        SubElement(root, "polyline", {"class": f"c{index}", "points": places})
        label = f"{name}, {curve[-1][0] / 1e3:,.0f}k tokens"
        line(root, (x, 58), (x + 22, 58), f"c{index}", **{"stroke-width": "2.25"})
        text(root, x + 29, 62, label, "ink")
        x += 29 + 6.2 * len(label) + 16
    write_svg(root, path)


def _drawn(contender: Contender, baseline: Contender, results: Results) -> list[dict[str, Any]]:
    goal = results.mean_loss(baseline, baseline.shares[0])
    means = {share: results.mean_loss(contender, share) for share in contender.shares}
    reached = [s for s, mean in means.items() if mean is not None and goal and mean <= goal]
    return results.at_share(contender, min(reached, default=max(contender.shares)))


def mean_curve(results: Sequence[dict]) -> list[Point]:
    """Average the losses of equal schedules over their seeds.

    >>> mean_curve([{"curve": [[1, 4.0], [2, 3.0]]}, {"curve": [[1, 5.0], [2, 3.5]]}])
    [(1, 4.5), (2, 3.25)]
    """
    columns = zip(*(result["curve"] for result in results), strict=True)
    return [(column[0][0], statistics.mean(loss for _, loss in column)) for column in columns]


def _draw_frame(root: Element, place, most_tokens: float, *, low: float, high: float) -> None:
    for tenth in range(int(low * 10) + 1, int(high * 10) + 1):
        _, y = place((0, tenth / 10))
        line(root, (_LEFT, y), (_RIGHT, y), "grid", **{"stroke-width": "1"})
        text(root, _LEFT - 10, y + 4, f"{tenth / 10:.1f}", "soft end")
    for tokens in range(0, int(most_tokens) + 1, 100_000):
        x, _ = place((tokens, low))
        text(root, x, _BOTTOM + 21, f"{tokens // 1000:,}", "soft middle")
    text(root, (_LEFT + _RIGHT) / 2, _BOTTOM + 43, "training tokens, thousands", "soft middle")
