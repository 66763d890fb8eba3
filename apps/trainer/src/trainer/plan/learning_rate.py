"""Compute the learning rate of each step.

Stage: schedule section -> *learning rate* -> optimizer. The curves themselves belong to `optim`.

Under a batch ramp the schedule advances by tokens, in units of the whole batch. A step of b windows
instead of B gets (b / B)^e of the rate, with the optimizer's own exponent e, which keeps the noise
per token constant.
"""

import math

import torch

from trainer.config.run_config import RunConfig
from trainer.config.schedules import SCHEDULES


def learning_rate(config: RunConfig, step: int, *, training_seconds: float = 0.0) -> float:
    """Return the learning rate of optimizer step `step`, counted from 1.

    The last update of the schedule has the final rate; a run that is shorter than its warm-up ends
    during it. Under `training.max_hours` the schedule follows the steps or the wall clock
    (`training_seconds` so far), whichever is further, so a run cut short still decays.
    """
    share = config.batch_size_at(step) / config.training.batch_size
    at = config.tokens_after(step) / config.tokens_per_step
    rate = _scheduled(config, at, training_seconds=training_seconds)
    exponent = config.optimizer.section.ramp_exponent
    # The root is rounded correctly, which a power is not.
    return rate * (math.sqrt(share) if exponent == 0.5 else share**exponent)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's learning rate: `rate`, times its `peak_ratio` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("peak_ratio", 1.0)


def _scheduled(config: RunConfig, step: float, *, training_seconds: float) -> float:
    """Return the learning rate after `step` whole batches."""
    schedule, peak = config.schedule, config.optimizer.learning_rate
    total, warmup = config.schedule_steps, schedule.warmup_steps
    if schedule.range_from is not None:
        share = (step - 1) / max(1, total - 1)
        return schedule.range_from * (peak / schedule.range_from) ** share
    if config.training.max_hours is not None and step > warmup:
        elapsed = training_seconds / (3600 * config.training.max_hours)
        step = max(step, round(elapsed * total))
    if step <= warmup:
        return peak * step / warmup
    floor = peak * schedule.final_fraction
    return SCHEDULES[schedule.name](step, peak, floor, warmup, total)
