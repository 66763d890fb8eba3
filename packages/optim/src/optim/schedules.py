"""Compute the learning rate of a step with pure functions.

Stage: step -> *learning rate* -> optimizer. All schedules rise linearly from 0 over `warmup_steps`.
"""

import math


def lr_cosine_schedule(
    step: int | float, max_lr: float, min_lr: float, warmup_steps: int, cosine_steps: int
) -> float:
    """Return the rate of `step`: warm-up, half a cosine down to `min_lr` at `cosine_steps`, flat.

    Args:
        step: counted from 0; fractions are allowed.
        max_lr: the peak, reached at `warmup_steps`.
        min_lr: from `cosine_steps` on.
        warmup_steps: steps of the rise.
        cosine_steps: step at which the cosine ends, including the warm-up.

    Raises:
        ValueError: a negative step, or a schedule that ends before its warm-up.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5; CS336 assignment 1 of 2025, section
    4.4.

    >>> [round(lr_cosine_schedule(step, 1.0, 0.1, 2, 6), 3) for step in range(8)]
    [0.0, 0.5, 1.0, 0.868, 0.55, 0.232, 0.1, 0.1]
    """
    _check(step, warmup_steps, cosine_steps)
    if step < warmup_steps:
        return max_lr * step / warmup_steps
    if step >= cosine_steps:
        return min_lr
    progress = (step - warmup_steps) / (cosine_steps - warmup_steps)
    return min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (max_lr - min_lr)


def lr_linear_schedule(
    step: int | float, max_lr: float, min_lr: float, warmup_steps: int, linear_steps: int
) -> float:
    """Return the rate of `step`: warm-up, a straight line to `min_lr` at `linear_steps`, flat.

    Arguments and errors as in `lr_cosine_schedule`.

    >>> [round(lr_linear_schedule(step, 1.0, 0.0, 2, 6), 3) for step in range(8)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    _check(step, warmup_steps, linear_steps)
    if step < warmup_steps:
        return max_lr * step / warmup_steps
    if step >= linear_steps:
        return min_lr
    progress = (step - warmup_steps) / (linear_steps - warmup_steps)
    return max_lr + progress * (min_lr - max_lr)


def lr_wsd_schedule(
    step: int | float,
    max_lr: float,
    min_lr: float,
    warmup_steps: int,
    stable_steps: int,
    decay_steps: int,
) -> float:
    """Return the rate of `step`: warm-up, stable at the peak, a straight decay, flat.

    Args:
        step: counted from 0.
        max_lr: the peak.
        min_lr: after the decay.
        warmup_steps: steps of the rise.
        stable_steps: steps at the peak.
        decay_steps: steps of the fall.

    Raises:
        ValueError: a negative step or duration.

    Source: Hu et al. 2024 (MiniCPM), arXiv:2404.06395, section 4. Departure: linear decay.

    >>> [round(lr_wsd_schedule(step, 1.0, 0.0, 1, 2, 2), 3) for step in range(7)]
    [0.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    """
    if min(stable_steps, decay_steps) < 0:
        raise ValueError(
            f"stable_steps is {stable_steps} and decay_steps {decay_steps}, but both must be >= 0"
        )
    end = warmup_steps + stable_steps + decay_steps
    _check(step, warmup_steps, end)
    if step < warmup_steps:
        return max_lr * step / warmup_steps
    decayed = step - warmup_steps - stable_steps
    if decayed <= 0 and step < end:
        return max_lr
    return min_lr if step >= end else max_lr + decayed / decay_steps * (min_lr - max_lr)


def _check(step: int | float, warmup_steps: int, last_step: int) -> None:
    if step < 0:
        raise ValueError(f"step is {step}, but steps count from 0")
    if not 0 <= warmup_steps <= last_step:
        raise ValueError(
            f"warmup_steps is {warmup_steps} and the schedule ends at step {last_step}, but "
            "0 <= warmup_steps <= end is needed"
        )
