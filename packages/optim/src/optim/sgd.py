"""Step against the gradient, optionally with CS336's decaying rate."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from optim.checks import dense_gradient, require_at_least_zero


class SGD(torch.optim.Optimizer):
    """theta <- theta - lr * gradient; with `decay`, the rate is lr / sqrt(t + 1) at t = 0, 1, ...

    Args:
        params: parameters or groups.
        lr: learning rate.
        weight_decay: decoupled; theta is first scaled by 1 - lr_t * weight_decay.
        decay: whether the rate falls as 1 / sqrt(t + 1).

    Raises:
        ValueError: a negative rate or decay, no parameters, a sparse gradient.

    Source: CS336 assignment 1 of 2025, section 4.2.1, eq. 20.
    """

    def __init__(
        self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.0, decay: bool = False
    ) -> None:
        require_at_least_zero(lr=lr, weight_decay=weight_decay)
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float | Tensor] | None = None) -> float | Tensor | None:
        """Update every parameter that has a gradient; return what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = dense_gradient(parameter)
                if gradient is not None:
                    self._update(parameter, gradient, group)
        return loss

    def _update(
        self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]
    ) -> None:
        lr = group["lr"]
        if group["decay"]:
            state = self.state[parameter]
            updates = state.get("step", 0)
            lr /= math.sqrt(updates + 1)
            state["step"] = updates + 1
        parameter.mul_(1 - lr * group["weight_decay"])
        parameter.add_(gradient, alpha=-lr)
