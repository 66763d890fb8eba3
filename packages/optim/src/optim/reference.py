"""Implement AdamW and Muon line by line as their algorithms are written; read this first.

Stage: gradients -> *update* -> weights. AdamW is CS336's Algorithm 1, of either year. The version
of 2026 decays before the update, like `adamw.py` and torch; the version of 2025 decays after it.
Both add eps to the root before bias correction, where `adamw.py` and torch add it after. Muon
updates one matrix at a time by singular value decomposition; `muon.py` applies polynomials to
whole stacks.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(slots=True)
class Moments:
    """State of Algorithm 1 between steps; m = v = 0 and t = 0 at first."""

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
    year: Literal[2025, 2026] = 2025,
) -> Float[Tensor, "..."]:
    """Return theta after one step of CS336's Algorithm 1; `moments` is updated in place.

    The years differ by alpha * decay of each update, because the version of 2025 also decays the
    update.

    >>> for year in (2025, 2026):
    ...     moments = Moments(torch.zeros(1), torch.zeros(1))
    ...     settings = dict(alpha=0.1, beta1=0.9, beta2=0.99, eps=0.0, decay=0.5, year=year)
    ...     theta = adamw_step(torch.ones(1), torch.ones(1), moments, **settings)
    ...     print(f"{year}: {theta.item():.3f}")
    2025: 0.855
    2026: 0.850
    """
    if year == 2026:
        theta = theta - alpha * decay * theta
    moments.t += 1
    moments.m = beta1 * moments.m + (1 - beta1) * g
    moments.v = beta2 * moments.v + (1 - beta2) * g * g
    alpha_t = alpha * math.sqrt(1 - beta2**moments.t) / (1 - beta1**moments.t)
    theta = theta - alpha_t * moments.m / (moments.v.sqrt() + eps)
    return theta - alpha * decay * theta if year == 2025 else theta


def polar_factor(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """Return U V^T for U S V^T: all singular values that are not zero become one."""
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    return (u * (s > 0)) @ vt


def muon_step(
    theta: Float[Tensor, "m n"],
    g: Float[Tensor, "m n"],
    m: Float[Tensor, "m n"],
    *,
    alpha: float,
    mu: float,
    decay: float,
) -> tuple[Float[Tensor, "m n"], Float[Tensor, "m n"]]:
    """Return theta and the momentum m after one step with Nesterov, scaled like AdamW ("rms")."""
    m = mu * m + g
    update = polar_factor(g + mu * m)
    scale = 0.2 * math.sqrt(max(theta.shape))
    return (1 - alpha * decay) * theta - alpha * scale * update, m
