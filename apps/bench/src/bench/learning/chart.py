"""Draw the losses against tokens.

Stage: results -> *SVG*: one curve per contender, the mean over its seeds, and a line at the
baseline's end. Not here: drawing (`display.plot`).
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.display.plot import write_curves
from bench.display.svg import Point
from bench.learning.results import Results
from bench.learning.trials import Contender

_SHOWN_ABOVE_END = 0.9  # nats above the end to draw


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
        raise ValueError(f"{baseline} has not been trained yet, so {path} would have no goal")
    goal = curves[baseline][-1][1]
    low = min(goal, *(loss for curve in curves.values() for _, loss in curve)) - 0.05
    drawn = {
        f"{name}, {curve[-1][0] / 1e3:,.0f}k tokens": [(x / 1e3, loss) for x, loss in curve]
        for name, curve in curves.items()
    }
    write_curves(
        drawn,
        path,
        title="Validation loss by tokens; dashed: AdamW's end",
        labels=("training tokens, thousands", "nats per token"),
        y_range=(low, goal + _SHOWN_ABOVE_END),
        dashed=goal,
    )


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
