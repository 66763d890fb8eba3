"""Predict how long a run takes, what power it draws and what it costs.

Stage: FLOPs, device -> *seconds, kilowatt hours, money*; or a run's progress -> seconds left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from accounting.flops import Convention, forward_flops, training_flops
from accounting.plural import agree, plural
from accounting.shape import ModelShape

_SECONDS_A_DAY, _SECONDS_AN_HOUR = 86_400, 3_600


@dataclass(frozen=True, kw_only=True, slots=True)
class Duration:
    """Duration and speed of a run."""

    seconds: float
    tokens_per_second: float
    """Speed of training alone."""

    @property
    def days(self) -> float:
        """The same in days."""
        return self.seconds / _SECONDS_A_DAY

    def kilowatt_hours(self, watts: float) -> float:
        """Return the energy at a constant draw."""
        return watts * self.seconds / _SECONDS_AN_HOUR / 1000

    def cost(self, price_per_hour: float) -> float:
        """Return the price, in the currency of `price_per_hour`."""
        return price_per_hour * self.seconds / _SECONDS_AN_HOUR


def training_time(
    shape: ModelShape,
    num_tokens: int,
    *,
    flops_per_second: float,
    convention: Convention = "model",
    evaluation_tokens: int = 0,
    warm_up_seconds: float = 0.0,
) -> Duration:
    """Predict a run from the FLOP/s that it reaches.

    Args:
        shape: the model; windows are its whole context.
        num_tokens: tokens trained on.
        flops_per_second: peak times utilization, by the same convention.
        convention: how training's FLOPs are counted.
        evaluation_tokens: tokens scored over the whole run: forward passes, at the same FLOP/s.
        warm_up_seconds: time before the first step at full speed: loading, compiling.

    Raises:
        ValueError: a speed that is not positive.

    >>> from accounting import PRESETS
    >>> tokens = 400_000 * 1024 * 1024
    >>> for convention in ("counter", "model"):
    ...     days = training_time(PRESETS["gpt2-xl"], tokens, flops_per_second=19.5e12 * 0.5,
    ...                          convention=convention).days
    ...     print(f"{days:,.1f} days")
    6,583.6 days
    6,348.6 days
    """
    if not flops_per_second > 0:
        raise ValueError(f"flops_per_second is {flops_per_second}, but must be positive")
    training = training_flops(shape, num_tokens, convention=convention) / flops_per_second
    window = forward_flops(shape, convention=convention).total
    evaluation = evaluation_tokens * window / shape.context_length / flops_per_second
    return Duration(
        seconds=warm_up_seconds + training + evaluation,
        tokens_per_second=num_tokens / training if training else 0.0,
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run had come at one moment."""

    tokens: int
    """Trained on so far."""
    seconds: float
    """Since its start."""
    tokens_per_second: float
    """Lately, in training alone."""


def remaining_time(progress: Sequence[Progress], *, total_tokens: int) -> Duration:
    """Predict from a run's own progress what is left of it.

    The first moment is where measuring starts, so that loading and compiling do not count again;
    evaluations and checkpoints in between do, because they continue.

    Raises:
        ValueError: fewer than two different moments.

    >>> progress = [Progress(n, 9.0 + n / 10, 12.0) for n in (100, 200, 300)]
    >>> remaining_time(progress, total_tokens=500)
    Duration(seconds=20.0, tokens_per_second=12.0)
    """
    if len(progress) < 2 or progress[0].tokens == progress[-1].tokens:
        raise ValueError(
            f"{plural(len(progress), 'measurement')} of training "
            f"{agree(len(progress), 'is', 'are')} too few for a speed; wait for two"
        )
    first, last = progress[0], progress[-1]
    slope = (last.seconds - first.seconds) / (last.tokens - first.tokens)
    speeds = sorted(one.tokens_per_second for one in progress[1:])
    return Duration(
        seconds=slope * max(total_tokens - last.tokens, 0),
        tokens_per_second=speeds[len(speeds) // 2],
    )
