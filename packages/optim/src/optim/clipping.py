"""Scale gradients down when together they are too long.

Stage: loss -> gradients -> *clipped gradients* -> optimizer. Nothing waits for the device here: the
norm stays a tensor, and the scaling runs whether it shrinks anything or not.
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from optim._validation import require_dense_gradients


@torch.no_grad()
def clip_gradients_(
    parameters: Iterable[Tensor], max_norm: float, *, eps: float = 1e-6
) -> Float[Tensor, ""]:
    """Scale all gradients in place by min(1, max_norm / (norm + eps)).

    The norm is that of all gradients as one long vector. Parameters without a gradient are ignored.

    Args:
        parameters: their `.grad` is scaled.
        max_norm: > 0; infinity only measures.
        eps: >= 0, keeps the quotient finite.

    Returns:
        () the norm before clipping, in float32, or float64 if a gradient is; not finite if a
        gradient is not, and then the gradients are not usable either.

    Raises:
        ValueError: `max_norm` or `eps` outside its range, a sparse or complex gradient.

    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_gradients_([weight], 1.0), weight.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm is {max_norm}, but must be > 0; infinity only measures")
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps is {eps}, but must be a finite number >= 0")
    gradients = [p.grad for p in parameters if p.grad is not None]
    require_dense_gradients(gradients)
    if not gradients:
        return torch.zeros(())
    norm = _global_norm(gradients)
    if max_norm < math.inf:
        factor = (max_norm / (norm + eps)).clamp(max=1.0)
        for device in dict.fromkeys(gradient.device for gradient in gradients):
            here = [gradient for gradient in gradients if gradient.device == device]
            torch._foreach_mul_(here, factor.to(device))
    return norm


def _global_norm(gradients: list[Tensor]) -> Float[Tensor, ""]:
    """Return the norm of all gradients on the first one's device, in at least float32."""
    dtype = torch.float32
    for gradient in gradients:
        dtype = torch.promote_types(dtype, gradient.dtype)
    norms = torch._foreach_norm(gradients, 2, dtype=dtype)
    return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))
