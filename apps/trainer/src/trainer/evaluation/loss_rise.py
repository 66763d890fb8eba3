"""Distinguish a training loss that has risen for good from one that is merely noisy.

Stage: logged losses -> *a rise, or None* -> outcome of a trial, findings. A loss has diverged if it
rose above the noise of its own run and did not come back. Error rates on simulated curves are in
docs/reliability.md. Not here: losses that are not finite (`training/divergence.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNDONE_SHARE = 0.25
"""The smallest share of the progress that a divergence undoes; less is a detour."""
_LEAST_RISE = 0.05  # share of the first loss
_LEAST_NOISE = 0.05  # likewise: the scatter of a few losses underestimates their noise
_CLEAR = 18.0  # noise variances by which falling and rising must fit better than only falling
_WIDTH = 3  # neighbours averaged into a level: a single loss is noisy
_PARAMETERS = 4  # approximate degrees of freedom of a curve that falls and rises
_LONGEST_MEMORY = 0.9  # correlation of neighbouring residuals
_MOST = 10.0  # times the first loss: higher losses are clipped


@dataclass(frozen=True, slots=True)
class Rise:
    """The level that a loss fell to, and the one it has risen to since."""

    start: float
    lowest: float
    end: float

    def __str__(self) -> str:
        """Describe the rise in words."""
        has_fallen = self.lowest < self.start
        first = f"fell to {_nats(self.lowest)}" if has_fallen else f"began at {_nats(self.start)}"
        return f"the training loss {first} and ended at {_nats(self.end)}"


def find_rise(losses: Sequence[float], *, undone_share: float = UNDONE_SHARE) -> Rise | None:
    """Return the rise that a training loss ends with; None: it fell, recovered or is too noisy.

    Two curves of any shape are fitted by least squares: the best that only falls, and the best that
    falls and then rises. The second must fit better by `_CLEAR` times the variance of its own
    residuals, so that a noisy run needs a higher rise.

    Args:
        losses: the finite logged losses of a run, in order; fewer than three are inconclusive.
        undone_share: share of the progress that a rise must undo.

    Source: Stout 2008, Unimodal regression via prefix isotonic regression, Computational Statistics
    & Data Analysis 53, section 3.

    >>> find_rise([6.0, 5.0, 4.0, 4.5]) is None
    True
    >>> str(find_rise([6.0, 4.0, 4.0, 4.0, 4.0, 6.0, 6.0, 6.0]))
    'the training loss fell to 4.00 and ended at 6.00'
    """
    if len(losses) < _WIDTH:
        return None
    start = losses[0]
    values = _blocks(np.minimum(losses, _MOST * start)).tolist()
    values[-1] = min(values[-2:])
    fitted, falling_error, error = _fall_and_rise(values)
    width = min(_WIDTH, len(values) // 2)
    levels = np.convolve(fitted, np.full(width, 1 / width), "valid")
    gained = max(start, fitted[0]) - levels.min()
    rise = levels[-1] - levels.min()
    if rise <= max(undone_share * gained, _LEAST_RISE * start):
        return None
    noise = _noise(np.subtract(values, fitted)) + (_LEAST_NOISE * start) ** 2
    if falling_error - error <= _CLEAR * noise:
        return None
    end = levels[-1] if max(losses) <= _MOST * start else float(np.median(losses[-width:]))
    return Rise(start, float(levels.min()), float(end))


def _blocks(losses: np.ndarray) -> np.ndarray:
    """Return medians of neighbours, of more in longer runs: limits outliers and memory."""
    size = max(1, math.isqrt(len(losses) // 12))
    whole = len(losses) // size * size
    return np.median(losses[len(losses) - whole :].reshape(-1, size), axis=1)


def _fall_and_rise(values: Sequence[float]) -> tuple[list[float], float, float]:
    """Return the best curve that falls and then rises, the error without a rise, and its own."""
    _, falling = _fall(values)
    _, rising = _fall(values[::-1])
    errors = [fell + rose for fell, rose in zip(falling, [*rising[-2::-1], 0.0], strict=True)]
    turn = errors.index(min(errors)) + 1
    fitted = _fall(values[:turn])[0] + _fall(values[turn:][::-1])[0][::-1]
    return fitted, falling[-1], errors[turn - 1]


def _fall(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the best curve that never rises, and the squared error of that for each prefix."""
    pools: list[tuple[float, int, float]] = []  # sum, number, squared error
    errors, total = [], 0.0
    for value in values:
        pool = (value, 1, 0.0)
        while pools and pools[-1][0] / pools[-1][1] <= pool[0] / pool[1]:
            total -= pools[-1][2]
            pool = _joined(pools.pop(), pool)
        total += pool[2]
        pools.append(pool)
        errors.append(total)
    return [sum_ / number for sum_, number, _ in pools for _ in range(number)], errors


def _joined(
    one: tuple[float, int, float], other: tuple[float, int, float]
) -> tuple[float, int, float]:
    gap = other[0] / other[1] - one[0] / one[1]
    between = gap * gap * one[1] * other[1] / (one[1] + other[1])
    return one[0] + other[0], one[1] + other[1], one[2] + other[2] + between


def _noise(residuals: np.ndarray) -> float:
    """Return the variance of residuals, inflated by the correlation of neighbours."""
    squares = float(residuals @ residuals)
    memory = float(residuals[1:] @ residuals[:-1]) / squares if squares else 0.0
    memory = min(max(memory, 0.0), _LONGEST_MEMORY)
    variance = squares / max(len(residuals) - _PARAMETERS, 1)
    return variance * (1 + memory) / (1 - memory)


def _nats(loss: float) -> str:
    return f"{loss:.2f}" if loss < 1000 else f"{loss:.3g}"
