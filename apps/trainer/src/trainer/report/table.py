"""Tabulate runs, best first: their losses, their cost, and the settings in which they differ.

Stage: RunHistory -> *rows of text* -> page, exports, terminal.
"""

from collections.abc import Sequence

from rich.console import Console

from trainer.experiments.results import print_rows
from trainer.report.findings.runs import final_training_loss, rank
from trainer.report.history import RunHistory, differing_settings
from trainer.report.units import format_seconds

NUMBERS = ("validation loss", "bits per byte", "training loss", "steps", "tokens", "time")


def table_rows(histories: Sequence[RunHistory]) -> list[list[str]]:
    """Return the head and one row per run, best first; an unknown value is an empty text."""
    changed = differing_settings(list(histories))
    rows = [["run", *NUMBERS, *changed]]
    for index in ranked_indices(histories):
        history = histories[index]
        given = [values[index] or "" for values in changed.values()]
        rows.append([history.name, *numbers(history), *given])
    return rows


def print_table(histories: Sequence[RunHistory], console: Console) -> None:
    """Print the table."""
    rows = table_rows(histories)
    print_rows(rows, console, words=set(rows[0]) - set(NUMBERS))


def ranked_indices(histories: Sequence[RunHistory]) -> list[int]:
    """Return the indices of the runs, best first; those without a score last, in order."""
    place = {id(history): place for place, (_, history) in enumerate(rank(histories)[0])}
    return sorted(
        range(len(histories)), key=lambda index: place.get(id(histories[index]), len(histories))
    )


def numbers(history: RunHistory) -> list[str]:
    """Return the values of `NUMBERS` as text."""
    last = history.last_row or {}
    losses = (history.validation_loss, history.bits_per_byte, final_training_loss(history))
    return [
        *("" if loss is None else f"{loss:.4f}" for loss in losses),
        f"{history.last_step:,}",
        f"{last['tokens']:,}" if last.get("tokens") else "",
        format_seconds(last["seconds"]) if last.get("seconds") else "",
    ]
