"""Tabulate what accounting expected of a run beside what was measured.

Stage: RunHistory -> *rows of text* -> the page of a run. Not here: HTML (`page.py`).
"""

from trainer.report.history import RunHistory
from trainer.summary import PROCESS, TRAINING_FLOPS

HEADS = ("quantity", "expected", "measured", "expected / measured")


def estimate_rows(history: RunHistory) -> list[list[str]]:
    """Return one row per prediction; a cell is empty if nothing was measured."""
    summary = history.summary
    if summary is None or not summary.estimates:
        return []
    rows = [
        [
            one.what,
            f"{'at most ' if one.is_bound else ''}{one.expected:,.0f}",
            "" if one.found is None else f"{one.found:,.0f}",
            "" if one.error is None else f"{1 + one.error:.2f}",
        ]
        for one in summary.estimates
    ]
    for one in summary.estimates:
        if one.what == TRAINING_FLOPS and summary.training_seconds:
            speed = one.expected / summary.training_seconds
            rows.append(["FLOPs per second of training time", "", f"{speed:,.0f}", ""])
    if summary.process_bytes is not None:
        rows.append([PROCESS, "", f"{summary.process_bytes:,}", ""])
    if summary.mfu is not None:
        rows.append(["share of the device's peak (MFU)", "", f"{summary.mfu:.1%}", ""])
    return rows
