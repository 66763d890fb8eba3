"""Register the learning-rate schedules, and configure the one of a run.

Stage: a section of a run's configuration. To add a schedule, write its function and list it in
`SCHEDULES`. torch is imported when a rate is computed. Not here: the curves (`optim.schedules`),
batch ramps and the clock (`plan/learning_rate.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainer.config.field_checks import (
    require_kinds,
    require_multiplier,
    require_positive,
    require_range,
)

WSD_DECAY_FRACTION = 0.2

Schedule = Callable[[float, float, float, int, int], float]
"""(step, peak, final rate, warm-up steps, total steps) -> learning rate after `step` steps."""


def _cosine(step: float, peak: float, floor: float, warmup: int, total: int) -> float:
    from optim import lr_cosine_schedule

    return lr_cosine_schedule(step, peak, floor, warmup, total)


def _linear(step: float, peak: float, floor: float, warmup: int, total: int) -> float:
    from optim import lr_linear_schedule

    return lr_linear_schedule(step, peak, floor, warmup, total)


def _wsd(step: float, peak: float, floor: float, warmup: int, total: int) -> float:
    from optim import lr_wsd_schedule

    decay = max(1, min(round(total * WSD_DECAY_FRACTION), total - warmup))
    return lr_wsd_schedule(step, peak, floor, warmup, total - warmup - decay, decay)


def _constant(step: float, peak: float, floor: float, warmup: int, total: int) -> float:
    return peak


SCHEDULES: dict[str, Schedule] = {
    "cosine": _cosine,
    "linear": _linear,
    "wsd": _wsd,
    "constant": _constant,
}
if TYPE_CHECKING:
    ScheduleName = str
else:
    ScheduleName = Literal[(*SCHEDULES, "range")]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """The learning rate over the run."""

    name: ScheduleName = "cosine"
    """Shape after the warm-up. wsd: stable, then linear decay over the last fifth; range (used by
    `lr-range`): exponential rise from range_from to the peak at the run's end."""
    warmup_steps: int
    """Steps of linear rise from zero to the peak; in whole batches, like all steps here."""
    final_fraction: float = 0.1
    """Learning rate at the last step, as a share of the peak, in [0, 1]."""
    total_steps: int | None = None
    """Step at which the final value is reached; None: the last step of the run."""
    range_from: float | None = None
    """Learning rate of the first step of a range."""

    def __post_init__(self) -> None:
        """Refuse values outside their range, and a schedule that ends during its warm-up."""
        require_kinds("schedule", self)
        require_range("schedule", self, "[0, inf)", "warmup_steps")
        require_range("schedule", self, "[0, 1]", "final_fraction")
        require_positive("schedule", self, "total_steps")
        if self.total_steps is not None and self.total_steps <= self.warmup_steps:
            raise ValueError(
                f"schedule.total-steps is {self.total_steps}, but schedule.warmup-steps "
                f"{self.warmup_steps} must end before it; raise one or lower the other"
            )
        self._check_range()

    def _check_range(self) -> None:
        if (self.name == "range") != (self.range_from is not None):
            raise ValueError(
                f"schedule.range-from is {self.range_from}, but schedule.name is {self.name!r}; "
                "set both or neither"
            )
        if self.range_from is None:
            return
        require_multiplier("schedule", self, "range_from")
        if self.warmup_steps:
            raise ValueError(
                f"schedule.warmup-steps is {self.warmup_steps}, but schedule.name 'range' has no "
                "warm-up; set it to 0"
            )
        if self.total_steps is not None:
            raise ValueError(
                f"schedule.total-steps is {self.total_steps}, but schedule.name 'range' ends with "
                "the run; leave it out"
            )
