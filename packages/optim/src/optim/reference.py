"""What one AdamW step computes, slow and obvious: read this first.

Stage: gradients -> *AdamW* -> parameters. Two pure functions, for one parameter each:
`adamw_step` is what `AdamW` and `torch.optim.AdamW` do, `cs336_adamw_step` is Algorithm 1 of the
CS336 handout, line by line. They differ in two places:

1. Decay. torch shrinks the parameter before the update, the handout afterwards, so that the
   handout's decay also acts on the update itself: a difference of lr * weight_decay * update.
2. eps. torch adds it to the root of the corrected second moment, the handout to the root of the raw
   one, so that the handout's eps is larger by 1 / sqrt(1 - beta2^t); that factor goes to 1.

Why the bias is corrected: both moments are running means that start at zero. After t steps they
hold only the share 1 - beta^t of the weight that a mean needs, which with beta2 = 0.999 is a
thousandth at first. Uncorrected, the first update would be (1 - beta1) / sqrt(1 - beta2) times the
learning rate, some 3 times too long with the usual betas, and the length would change with every
step of the warm-up. Divided by 1 - beta^t, a constant gradient gives updates of one learning rate
from the first step on.

Source: Kingma and Ba 2015, arXiv:1412.6980, section 3; Loshchilov and Hutter 2019,
arXiv:1711.05101, algorithm 2.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class AdamWStep(NamedTuple):
    """A parameter and its moments after a step."""

    parameter: Float[Tensor, "..."]
    exp_avg: Float[Tensor, "..."]
    exp_avg_sq: Float[Tensor, "..."]


def adamw_step(
    before: AdamWStep,
    gradient: Float[Tensor, "..."],
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> AdamWStep:
    """Return what step number `step`, counted from 1, makes of a parameter and its moments."""
    beta1, beta2 = betas
    parameter = before.parameter - lr * weight_decay * before.parameter
    exp_avg = beta1 * before.exp_avg + (1 - beta1) * gradient
    exp_avg_sq = beta2 * before.exp_avg_sq + (1 - beta2) * gradient**2
    mean = exp_avg / (1 - beta1**step)
    mean_square = exp_avg_sq / (1 - beta2**step)
    parameter = parameter - lr * mean / (torch.sqrt(mean_square) + eps)
    return AdamWStep(parameter, exp_avg, exp_avg_sq)


def cs336_adamw_step(
    before: AdamWStep,
    gradient: Float[Tensor, "..."],
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> AdamWStep:
    """Return the same by the handout's Algorithm 1; the module says where the two differ."""
    beta1, beta2 = betas
    exp_avg = beta1 * before.exp_avg + (1 - beta1) * gradient
    exp_avg_sq = beta2 * before.exp_avg_sq + (1 - beta2) * gradient**2
    adjusted_lr = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)
    parameter = before.parameter - adjusted_lr * exp_avg / (torch.sqrt(exp_avg_sq) + eps)
    parameter = parameter - lr * weight_decay * parameter
    return AdamWStep(parameter, exp_avg, exp_avg_sq)
