"""Refuse what no optimizer here can use."""

import torch
from torch import Tensor


def require_at_least_zero(**values: float) -> None:
    """Raise ValueError for the first negative or NaN value, by its name."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} is {value}, but must be >= 0")


def dense_gradient(parameter: torch.nn.Parameter) -> Tensor | None:
    """Return the gradient, None where there is none; ValueError for a sparse one."""
    gradient = parameter.grad
    if gradient is not None and gradient.is_sparse:
        raise ValueError("a gradient is sparse, but only dense ones are supported; use dense ones")
    return gradient
