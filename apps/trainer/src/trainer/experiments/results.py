"""Sum up a study: every point with its seeds, best first.

Stage: study -> *points* -> terminal, report.
"""

import math
import statistics
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from trainer.config.field_checks import is_number
from trainer.experiments.study import Outcome, Study, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """All trials that differ in their seed only."""

    name: str
    changes: dict[str, Any]
    trials: list[Trial]
    outcomes: list[Outcome]
    """Of the trials that have one."""

    @property
    def losses(self) -> list[float]:
        """Validation losses of the finished trials, nats a token."""
        return self.losses_of("finished")

    def losses_of(self, *statuses: str) -> list[float]:
        """Return the validation losses of the trials that ended so; without any: however."""
        return [
            outcome.validation_loss
            for outcome in self.outcomes
            if outcome.status in (statuses or (outcome.status,))
            and outcome.validation_loss is not None
        ]

    @property
    def mean(self) -> float | None:
        """Mean loss; None: no trial has finished, or one did not live to its end."""
        is_whole = self.losses and len(self.losses) == len(self.outcomes)
        return statistics.fmean(self.losses) if is_whole else None

    @property
    def shown(self) -> str:
        """Mean loss of the trials that have one, however they ended, as text; none: empty."""
        losses = self.losses_of()
        return f"{statistics.fmean(losses):.4f}" if losses else ""

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None: fewer than two have finished."""
        return statistics.stdev(self.losses) if len(self.losses) > 1 else None

    @property
    def status(self) -> str:
        """What became of the trials, in words."""
        counts: dict[str, int] = {}
        for outcome in self.outcomes:
            counts[outcome.status] = counts.get(outcome.status, 0) + 1
        waiting = len(self.trials) - len(self.outcomes)
        if waiting:
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
    """Return points by their mean loss; last those of which a trial did not live to its end."""

    def rank(point: Point) -> tuple[bool, float]:
        if point.mean is None:
            return True, float(point.shown or math.inf)
        return False, point.mean

    return sorted(listed, key=rank)


def ranked(listed: list[Point]) -> list[tuple[float, Point]]:
    """Return the points that have a mean loss, with it, the best first."""
    return [(mean, point) for point in best_first(listed) if (mean := point.mean) is not None]


def winners(study: Study) -> list[str]:
    """Say which value of the retuned field won at each point of the others, in their order."""
    if study.retuned is None:
        return []
    grouped: dict[str, list[Point]] = {}
    for point in points(study):
        grouped.setdefault(study.group(point.trials[0]), []).append(point)
    return [_winner(study.retuned, group) for group in grouped.values()]


def _winner(field: str, group: list[Point]) -> str:
    """Choose as the tuning does: by the first seed, which every value has."""
    short = field.rpartition(".")[2]
    words = [word for word in group[0].name.split(",") if not word.startswith(f"{short}=")]
    where = f"At {', '.join(words)}" if words else "Everywhere"
    best = min(group, key=lambda point: point.losses[0] if point.losses else math.inf)
    if not best.losses:
        return f"{where} no {short} of {len(group)} tried has ended yet, or ended well."
    values = sorted(value for point in group if is_number(value := point.changes[field]))
    value = best.changes[field]
    is_edge = len(values) == len(group) > 1 and value in (values[0], values[-1])
    edge = ", at the edge of what was tried" if is_edge else ""
    mean = statistics.fmean(best.losses)
    return (
        f"{where} the best {short} is {value}: {mean:.4f} nats a token, {len(best.losses)} "
        f"seed{'s' if len(best.losses) > 1 else ''}{edge}."
    )


def print_study(study: Study, console: Console) -> None:
    """Show the points on a terminal, best first."""
    table = Table(title=f"{study.kind} of {study.base.preset}")
    table.add_column("trial", overflow="fold")
    table.add_column("validation loss", justify="right")
    table.add_column("spread", justify="right")
    table.add_column("status")
    for point in best_first(points(study)):
        spread = "" if point.spread is None else f"{point.spread:.4f}"
        table.add_row(point.name, point.shown, spread, point.status)
    console.print(table)
    for sentence in winners(study):
        console.print(sentence, highlight=False, soft_wrap=True)
