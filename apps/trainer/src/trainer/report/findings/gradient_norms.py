"""Summarize the gradient norms of the runs of one variant.

Stage: RunHistory -> *median, 95th percentile, share clipped* -> table of a study.
"""

import statistics
from collections.abc import Sequence

from trainer.report.history import RunHistory

HEADS = ("gradient norm, median", "95th percentile", "clipped")


def gradient_cells(histories: Sequence[RunHistory]) -> list[str]:
    """Return median, 95th percentile and share of clipped steps; empty texts if unknown.

    The first tenth of each run is skipped: its norms reflect initialization.
    """
    norms: list[float] = []
    clipped: list[bool] = []
    for history in histories:
        limit = history.config.optimizer.max_grad_norm
        known = [norm for row in history.train if (norm := row.get("grad_norm")) is not None]
        settled = known[len(known) // 10 :]
        norms += settled
        clipped += [limit is not None and norm > limit for norm in settled]
    if len(norms) < 2:
        return ["", "", ""]
    high = statistics.quantiles(norms, n=20)[-1]
    return [f"{statistics.median(norms):.3g}", f"{high:.3g}", f"{statistics.fmean(clipped):.0%}"]
