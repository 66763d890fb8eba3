"""Retune one field at each point of a sweep.

Stage: points, values, outcomes so far -> *trials to run* -> running. Every value is tried with one
seed, with more values beyond the best while it is at an edge; then the best runs with the other
seeds. The next trials follow from the outcomes, so no other state is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainer.config.field_checks import is_number
from trainer.config.run_config import RunConfig
from trainer.experiments.grid import Over, grid, trial_at
from trainer.experiments.study import Outcome, Study, Trial

MAX_ADDED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Retune:
    """The field to retune, and the points of the sweep."""

    base: RunConfig
    over: Over
    """The field, and the values tried at every point."""
    points: Sequence[Over]
    """The axes of the sweep."""
    num_seeds: int = 1
    """Runs of the best value."""
    max_added: int = MAX_ADDED
    """Values tried at a point beyond those of `over`, at most."""
    is_equal_tokens: bool = True

    def __post_init__(self) -> None:
        """Reject a field that is swept, and fewer than two values."""
        fields = [one.field for one in self.points]
        if self.over.field in (*fields, "seed"):
            raise ValueError(
                f"--retune {self.over.field} is swept too, or the seed; name another field"
            )
        if len(self.over.values) < 2 or self.over.goes_on:
            raise ValueError(
                f"--retune {self.over.field} needs two or more values, and no ...; --widen adds "
                "values beyond them"
            )

    def trials(self, study: Study | None = None) -> list[Trial]:
        """Return all trials that the outcomes so far call for, including those that have run.

        Raises:
            ValueError: an unknown field, an invalid value.
        """
        return [trial for point in grid(self.points) for trial in self._at(point, study)]

    def _at(self, point: dict[str, object], study: Study | None) -> Iterator[Trial]:
        outcomes: dict[object, Outcome | None] = {}
        for value in self._values(outcomes):
            try:
                trial = self._trial(point, value, self.base.seed)
            except ValueError:
                if value in self.over.values:
                    raise
                break  # values beyond the edge are invalid
            yield trial
            outcomes[value] = None if study is None else study.outcome(trial)
        best = best_value(outcomes)
        if best is not None and None not in outcomes.values():
            for seed in range(self.base.seed + 1, self.base.seed + self.num_seeds):
                yield self._trial(point, best, seed)

    def _values(self, outcomes: dict[object, Outcome | None]) -> Iterator[object]:
        """Yield the values, then those beyond an edge while the outcomes call for them."""
        yield from self.over.values
        for _ in range(self.max_added):
            value = None if None in outcomes.values() else self._beyond(outcomes)
            if value is None:
                return
            yield value

    def _beyond(self, outcomes: dict[object, Outcome | None]) -> int | float | None:
        """Return the next value beyond the edge that the best is at; None: it is at none."""
        values = sorted(value for value in outcomes if is_number(value) and value > 0)
        if len(values) < max(len(outcomes), 2):
            return None  # not all have a ratio
        best = best_value(outcomes)
        has_diverged = any(
            one is not None and one.status == "diverged" for one in outcomes.values()
        )
        if best is None and has_diverged and self.over.field.endswith("learning-rate"):
            best = values[0]  # all were too high
        if best not in (values[0], values[-1]):
            return None
        edge, inner = (values[0], values[1]) if best == values[0] else (values[-1], values[-2])
        value = edge * edge / inner
        is_whole = isinstance(edge, int) and isinstance(inner, int)
        value = round(value) if is_whole else float(f"{value:.3g}")
        return None if value in outcomes or value <= 0 else value

    def _trial(self, point: dict[str, object], value: object, seed: int) -> Trial:
        whole = point | {self.over.field: value}
        return trial_at(self.base, whole, seed=seed, is_equal_tokens=self.is_equal_tokens)


def best_value(outcomes: dict[object, Outcome | None]) -> object | None:
    """Return the finished value with the lowest loss; None: none has finished."""
    losses = {
        value: outcome.validation_loss
        for value, outcome in outcomes.items()
        if outcome is not None
        and outcome.status == "finished"
        and outcome.validation_loss is not None
    }
    return min(losses, key=lambda value: losses[value], default=None)
