"""Step against the gradient, optionally with CS336's decaying rate.

Stage: gradients -> *update* -> weights. Not here: momentum.
"""

import math
from typing import Any

from torch import Tensor

from optim.checks import require_at_least_zero
from optim.optimizer import Optimizer


class SGD(Optimizer):
    """theta <- theta - lr * gradient; with `decay`, lr / sqrt(t + 1) at update t = 0, 1, ...

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

    def update_(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Update one parameter in place, and under `decay` its count of updates."""
        lr = group["lr"]
        if group["decay"]:
            state = self.state[parameter]
            updates = state.get("step", 0)
            lr /= math.sqrt(updates + 1)
            state["step"] = updates + 1
        parameter.mul_(1 - lr * group["weight_decay"])
        parameter.add_(gradient, alpha=-lr)
