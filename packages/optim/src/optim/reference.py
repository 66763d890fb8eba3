"""AdamW as the textbook has it, a line of code for a line of the algorithm: read this first.

Two lines differ from `adamw.py` and torch: the decay comes after the update, and eps is added to
the root before the bias is corrected.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(slots=True)
class Moments:
    """What Algorithm 1 carries from step to step; m = v = 0 and t = 0 at first."""

    m: Tensor
    v: Tensor
    t: int = 0


def adamw_step(
    theta: Float[Tensor, "..."],
    g: Float[Tensor, "..."],
    moments: Moments,
    *,
    alpha: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
) -> Float[Tensor, "..."]:
    """Return theta after one step of CS336's Algorithm 1; `moments` is updated in place."""
    moments.t += 1
    moments.m = beta1 * moments.m + (1 - beta1) * g
    moments.v = beta2 * moments.v + (1 - beta2) * g * g
    alpha_t = alpha * math.sqrt(1 - beta2**moments.t) / (1 - beta1**moments.t)
    theta = theta - alpha_t * moments.m / (moments.v.sqrt() + eps)
    return theta - alpha * decay * theta
