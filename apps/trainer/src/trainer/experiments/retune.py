"""Find the best value of one field anew at each point of a sweep.

Stage: points, values, outcomes so far -> *the trials to have* -> running. Every value is tried with
one seed; where the best is at an edge, one more value beyond it, and so on; then the best alone is
run with the other seeds. What is next follows from the outcomes, so that nothing else is kept.
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
    """What is sought, and where."""

    base: RunConfig
    over: Over
    """The field, and the values that every point tries."""
    points: Sequence[Over]
    """The axes of the sweep."""
    num_seeds: int = 1
    """Runs at the best value."""
    max_added: int = MAX_ADDED
    """Values that a point may try beyond those of `over`."""
    is_equal_tokens: bool = True

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to choose."""
        fields = [one.field for one in self.points]
        if self.over.field in (*fields, "seed"):
            raise ValueError(f"--retune {self.over.field} is swept too, or the seed; name another")
        if len(self.over.values) < 2 or self.over.goes_on:
            raise ValueError(
                f"--retune {self.over.field} needs two values or more, and no ...: --widen adds "
                "what lies beyond"
            )

    def trials(self, study: Study | None = None) -> list[Trial]:
        """Return the trials to have by now, those that have run included.

        Raises:
            ValueError: an unknown field, or a value that no run can have.
        """
        found = []
        for point in grid(self.points):
            found += self._at(point, study)
        return found

    def _at(self, point: dict[str, object], study: Study | None) -> Iterator[Trial]:
        outcomes: dict[object, Outcome | None] = {}
        for value in self._values(outcomes):
            try:
                trial = self._trial(point, value, self.base.seed)
            except ValueError:
                if value in self.over.values:
                    raise
                break  # beyond the edge lies what no run can have
            yield trial
            outcomes[value] = None if study is None else study.outcome(trial)
        best = best_value(outcomes)
        if best is not None and None not in outcomes.values():
            for seed in range(self.base.seed + 1, self.base.seed + self.num_seeds):
                yield self._trial(point, best, seed)

    def _values(self, outcomes: dict[object, Outcome | None]) -> Iterator[object]:
        """Yield the values; beyond those that were asked for, as long as outcomes call for it."""
        yield from self.over.values
        for _ in range(self.max_added):
            value = None if None in outcomes.values() else self._beyond(outcomes)
            if value is None:
                return
            yield value

    def _beyond(self, outcomes: dict[object, Outcome | None]) -> int | float | None:
        """Return the next value past the edge that the best is at; None: it is at none."""
        values = sorted(value for value in outcomes if is_number(value) and value > 0)
        if len(values) < max(len(outcomes), 2):
            return None  # not all are numbers with a ratio
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
        if isinstance(edge, int) and isinstance(inner, int):
            value = round(value)
        else:
            value = float(f"{value:.3g}")
        return None if value in outcomes or value <= 0 else value

    def _trial(self, point: dict[str, object], value: object, seed: int) -> Trial:
        whole = point | {self.over.field: value}
        return trial_at(self.base, whole, seed=seed, is_equal_tokens=self.is_equal_tokens)


def best_value(outcomes: dict[object, Outcome | None]) -> object | None:
    """Return the value with the lowest loss of those that finished; None: none has."""
    losses = {
        value: outcome.validation_loss
        for value, outcome in outcomes.items()
        if outcome is not None
        and outcome.status == "finished"
        and outcome.validation_loss is not None
    }
    return min(losses, key=lambda value: losses[value], default=None)
