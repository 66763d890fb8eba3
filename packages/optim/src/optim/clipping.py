"""Bound the norm of the gradient.

Stage: gradients -> *norm, clipped gradients* -> optimizer.
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

EPS = 1e-6


@torch.no_grad()
def clip_gradients_(
    parameters: Iterable[torch.nn.Parameter] | torch.nn.Parameter, max_norm: float
) -> Float[Tensor, ""]:
    """Scale all gradients in place so that their common L2 norm is at most `max_norm`.

    The factor is max_norm / (norm + 1e-6) if that is below 1. The host never waits for the device.

    Args:
        parameters: parameters without a gradient are ignored.
        max_norm: positive; infinity measures without clipping.

    Returns:
        () at least float32; the norm before clipping, without a gradient.

    Raises:
        ValueError: max_norm is not positive, or a gradient is sparse.

    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1; CS336 assignment 1 of 2025, section
    4.5.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_gradients_([weight], 1.0), weight.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm is {max_norm}, but must be positive")
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    gradients = [parameter.grad for parameter in listed if parameter.grad is not None]
    if any(gradient.is_sparse for gradient in gradients):
        raise ValueError("a gradient is sparse, but only dense ones can be clipped; use dense ones")
    if not gradients:
        device = listed[0].device if listed else "cpu"
        return torch.zeros((), dtype=torch.float32, device=device)
    norms = [torch.linalg.vector_norm(grad, dtype=_wide(grad.dtype)) for grad in gradients]
    norm = torch.linalg.vector_norm(torch.stack([one.to(norms[0].device) for one in norms]))
    if not math.isinf(max_norm):
        factor = (max_norm / (norm + EPS)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor.to(gradient.device))
    return norm


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
