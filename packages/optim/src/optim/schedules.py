"""Say which learning rate a step gets.

Stage: step number -> *schedule* -> learning rate -> optimizer. Pure functions; nothing is counted
here, so a resumed run needs no schedule state. All begin with a linear warm-up from 0 to `max_lr`.
"""

import math


def lr_cosine_schedule(
    step: int, max_lr: float, min_lr: float, warmup_steps: int, cosine_steps: int
) -> float:
    """Return the learning rate of `step`: warm-up, half a cosine down, then `min_lr`.

    Step `warmup_steps` has `max_lr`, step `cosine_steps` and all later ones have `min_lr`. Where
    both are the same step, the warm-up's end wins.

    Args:
        step: >= 0; step 0 of a schedule with a warm-up has rate 0.
        max_lr: peak, >= min_lr.
        min_lr: final rate, >= 0.
        warmup_steps: steps of linear rise.
        cosine_steps: the step at which `min_lr` is reached, warm-up included.

    Raises:
        ValueError: a negative argument, `min_lr` above `max_lr`, a warm-up beyond the cosine.

    Source: CS336 handout, cosine annealing; Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5.

    >>> [round(lr_cosine_schedule(step, 1.0, 0.1, 2, 6), 3) for step in range(8)]
    [0.0, 0.5, 1.0, 0.868, 0.55, 0.232, 0.1, 0.1]
    """
    _check_rates(max_lr, min_lr)
    _check_steps(step=step, warmup_steps=warmup_steps, cosine_steps=cosine_steps)
    _check_order("cosine_steps", cosine_steps, warmup_steps=warmup_steps)
    if step <= warmup_steps:
        return _warm_up(step, max_lr=max_lr, warmup_steps=warmup_steps)
    if step >= cosine_steps:
        return min_lr
    progress = (step - warmup_steps) / (cosine_steps - warmup_steps)
    return min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (max_lr - min_lr)


def lr_linear_schedule(
    step: int, max_lr: float, min_lr: float, warmup_steps: int, total_steps: int
) -> float:
    """Return the learning rate of `step`: warm-up, a straight line down, then `min_lr`.

    Args:
        step: >= 0.
        max_lr: peak, >= min_lr; the rate of step `warmup_steps`.
        min_lr: final rate, >= 0.
        warmup_steps: steps of linear rise.
        total_steps: the step at which `min_lr` is reached, warm-up included.

    Raises:
        ValueError: a negative argument, `min_lr` above `max_lr`, a warm-up that outlasts the line.

    >>> [lr_linear_schedule(step, 1.0, 0.0, 2, 6) for step in range(8)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    _check_rates(max_lr, min_lr)
    _check_steps(step=step, warmup_steps=warmup_steps, total_steps=total_steps)
    _check_order("total_steps", total_steps, warmup_steps=warmup_steps)
    if step <= warmup_steps:
        return _warm_up(step, max_lr=max_lr, warmup_steps=warmup_steps)
    if step >= total_steps:
        return min_lr
    return max_lr - (max_lr - min_lr) * (step - warmup_steps) / (total_steps - warmup_steps)


def lr_wsd_schedule(
    step: int,
    max_lr: float,
    min_lr: float,
    warmup_steps: int,
    stable_steps: int,
    decay_steps: int,
) -> float:
    """Return the learning rate of `step`: warm-up, stable at the peak, a straight line down.

    A run can be prolonged from any stable step without a trace: only the decay knows the end.

    Args:
        step: >= 0.
        max_lr: peak, >= min_lr.
        min_lr: final rate, >= 0; reached at step warmup_steps + stable_steps + decay_steps.
        warmup_steps: steps of linear rise.
        stable_steps: steps at the peak.
        decay_steps: steps of linear fall.

    Raises:
        ValueError: a negative argument, `min_lr` above `max_lr`.

    Source: Hu et al. 2024 (MiniCPM), arXiv:2404.06395, section 4. Departure: the decay is linear.

    >>> [lr_wsd_schedule(step, 1.0, 0.0, 2, 2, 2) for step in range(8)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    """
    _check_rates(max_lr, min_lr)
    _check_steps(
        step=step,
        warmup_steps=warmup_steps,
        stable_steps=stable_steps,
        decay_steps=decay_steps,
    )
    decay_start = warmup_steps + stable_steps
    if step <= warmup_steps:
        return _warm_up(step, max_lr=max_lr, warmup_steps=warmup_steps)
    if step <= decay_start:
        return max_lr
    return lr_linear_schedule(step, max_lr, min_lr, decay_start, decay_start + decay_steps)


def _warm_up(step: int, *, max_lr: float, warmup_steps: int) -> float:
    return max_lr if step == warmup_steps else step / warmup_steps * max_lr


def _check_rates(max_lr: float, min_lr: float) -> None:
    if not 0 <= min_lr <= max_lr or not math.isfinite(max_lr):
        raise ValueError(
            f"learning rates fall from max_lr={max_lr} to min_lr={min_lr}, but need "
            "0 <= min_lr <= max_lr, both finite"
        )


def _check_steps(**counts: int) -> None:
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"{name} is {count}, but must be >= 0")


def _check_order(name: str, end: int, *, warmup_steps: int) -> None:
    if end < warmup_steps:
        raise ValueError(
            f"warmup_steps={warmup_steps} outlasts {name}={end}, which includes the warm-up; "
            f"shorten the warm-up or raise {name}"
        )
