"""Summarize a study: every point with its seeds, best first.

Stage: study -> *points* -> terminal, report. Not here: findings in sentences (`report/findings/`).
"""

import math
import statistics
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from accounting.plural import plural
from trainer.config.field_checks import is_number
from trainer.experiments.study import Outcome, Study, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """All trials that differ only in their seed."""

    name: str
    changes: dict[str, Any]
    trials: list[Trial]
    outcomes: list[Outcome]
    """Of the trials that have ended."""

    @property
    def losses(self) -> list[float]:
        """Validation losses of the finished trials, nats per token."""
        return self.losses_of("finished")

    def losses_of(self, *statuses: str) -> list[float]:
        """Return the validation losses of the trials with these statuses; none given: of all."""
        return [
            outcome.validation_loss
            for outcome in self.outcomes
            if outcome.status in (statuses or (outcome.status,))
            and outcome.validation_loss is not None
        ]

    @property
    def mean(self) -> float | None:
        """Mean loss; None: no trial has finished, or one ended otherwise."""
        is_whole = self.losses and len(self.losses) == len(self.outcomes)
        return statistics.fmean(self.losses) if is_whole else None

    @property
    def shown(self) -> str:
        """Mean loss of all trials that have one, as text; empty if none has."""
        losses = self.losses_of()
        return f"{statistics.fmean(losses):.4f}" if losses else ""

    @property
    def spread(self) -> float | None:
        """Standard deviation across seeds; None: fewer than two have finished."""
        return statistics.stdev(self.losses) if len(self.losses) > 1 else None

    @property
    def status(self) -> str:
        """Statuses of the trials, counted if they differ."""
        counts: Counter[str] = Counter(outcome.status for outcome in self.outcomes)
        if waiting := len(self.trials) - len(self.outcomes):
            counts["not run"] = waiting
        if len(counts) == 1:
            return next(iter(counts))
        return ", ".join(f"{number} {status}" for status, number in counts.items())


def points(study: Study) -> list[Point]:
    """Return the points of a study, in the order of its trials."""
    grouped: dict[str, list[Trial]] = {}
    for trial in study.trials:
        grouped.setdefault(trial.name.rpartition(",seed=")[0] or trial.name, []).append(trial)
    return [
        Point(
            name=name,
            changes={key: value for key, value in trials[0].changes.items() if key != "seed"},
            trials=trials,
            outcomes=[o for trial in trials if (o := study.outcome(trial)) is not None],
        )
        for name, trials in grouped.items()
    ]


def best_first(listed: list[Point]) -> list[Point]:
    """Return points by their mean loss, those with an unfinished or failed trial last."""

    def rank(point: Point) -> tuple[bool, float]:
        if point.mean is None:
            return True, float(point.shown or math.inf)
        return False, point.mean

    return sorted(listed, key=rank)


def ranked(listed: list[Point]) -> list[tuple[float, Point]]:
    """Return (mean loss, point) of the points that have one, best first."""
    return [(mean, point) for point in best_first(listed) if (mean := point.mean) is not None]


def winners(study: Study) -> list[str]:
    """Describe the best value of the retuned field at each point of the other fields."""
    if study.retuned is None:
        return []
    grouped: dict[str, list[Point]] = {}
    for point in points(study):
        grouped.setdefault(study.group(point.trials[0]), []).append(point)
    return [_winner(study.retuned, group) for group in grouped.values()]


def _winner(field: str, group: list[Point]) -> str:
    """Choose as tuning does: by the first seed, which every value has."""
    short = field.rpartition(".")[2]
    words = [word for word in group[0].name.split(",") if not word.startswith(f"{short}=")]
    where = f"At {', '.join(words)}" if words else "Overall"
    best = min(group, key=lambda point: point.losses[0] if point.losses else math.inf)
    if not best.losses:
        return f"{where}, none of {plural(len(group), 'value')} of {short} has finished."
    values = sorted(value for point in group if is_number(value := point.changes[field]))
    value = best.changes[field]
    is_edge = len(values) == len(group) > 1 and value in (values[0], values[-1])
    edge = ", at the edge of the values tried" if is_edge else ""
    return (
        f"{where}, the best {short} is {value}{edge}: {statistics.fmean(best.losses):.4f} nats per "
        f"token, {plural(len(best.losses), 'seed')}."
    )


def print_study(study: Study, console: Console) -> None:
    """Print the points, best first."""
    rows = [["trial", "validation loss", "standard deviation", "status"]]
    for point in best_first(points(study)):
        spread = "" if point.spread is None else f"{point.spread:.4f}"
        rows.append([point.name, point.shown, spread, point.status])
    title = f"{study.kind} of {study.base.preset}"
    print_rows(rows, console, title=title, words=("trial", "status"))
    for sentence in winners(study):
        console.print(sentence, highlight=False, soft_wrap=True)


def print_rows(
    rows: list[list[str]], console: Console, *, words: Collection[str], title: str | None = None
) -> None:
    """Print a table whose first row is its head; columns other than `words` hold numbers."""
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="left" if name in words else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)
