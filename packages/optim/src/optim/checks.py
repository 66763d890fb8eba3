"""Refuse values and gradients that no optimizer here can use."""

import torch
from torch import Tensor


def require_at_least_zero(**values: float) -> None:
    """Raise a ValueError that names the first negative or NaN value."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} is {value}, but must be >= 0")


def dense_gradient(parameter: torch.nn.Parameter) -> Tensor | None:
    """Return the gradient, or None if there is none; raise ValueError if it is sparse."""
    gradient = parameter.grad
    if gradient is not None and gradient.is_sparse:
        raise ValueError("a gradient is sparse, but only dense ones are supported; use dense ones")
    return gradient
