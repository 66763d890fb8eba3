"""Set what accounting foretold beside what came of it.

Stage: RunHistory -> *a table* -> the page of a run.
"""

from html import escape

from trainer.report.history import RunHistory
from trainer.summary import PROCESS, TRAINING_FLOPS

_HEADS = ("quantity", "expected", "found", "expected / found")


def estimate_rows(history: RunHistory) -> list[list[str]]:
    """Return a row a prediction; what nobody measured is an empty text."""
    if history.summary is None:
        return []
    summary = history.summary
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
            rows.append(["FLOPs a second of training time", "", f"{speed:,.0f}", ""])
    if rows and summary.process_bytes is not None:
        rows.append([PROCESS, "", f"{summary.process_bytes:,}", ""])
    if rows and summary.mfu is not None:
        rows.append(["share of the device's peak (MFU)", "", f"{summary.mfu:.1%}", ""])
    return rows


def estimates_table(history: RunHistory) -> str:
    """Return the table as HTML; nothing was predicted: an empty text."""
    rows = estimate_rows(history)
    if not rows:
        return ""
    head = "".join(f"<th>{name}</th>" for name in _HEADS)
    lines = [
        "<tr>" + "".join(f"<td>{escape(cell) or '&#8211;'}</td>" for cell in row) + "</tr>"
        for row in rows
    ]
    table = f'<table class="estimates"><tr>{head}</tr>{"".join(lines)}</table>'
    return f'<h2>Estimate and fact</h2><div class="scroll">{table}</div>'
