"""Scale each step by the gradient's recent size, and decay the weights separately.

Stage: gradients -> *update* -> weights. `reference.py` has the textbook version; read it first.
"""

from typing import Any

import torch
from torch import Tensor

from optim.checks import require_at_least_zero
from optim.optimizer import Optimizer


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, then
    theta <- (1 - lr * decay) theta - lr * m_hat / (sqrt(v_hat) + eps), with m_hat = m / (1 -
    beta1^t) and v_hat = v / (1 - beta2^t). The bias is corrected because m and v start at zero:
    after t updates their weights sum to only 1 - beta^t. Without correction, early averages would
    be too small, v (beta2 close to 1) far more so than m, and the first steps far too long.

    This class matches `torch.optim.AdamW`. CS336's Algorithm 1 (`reference.py`) adds eps to sqrt(v)
    before bias correction instead of after it. The version of 2025 also decays after the update;
    the version of 2026 decays before it, as here.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay of the two averages, each in [0, 1).
        eps: keeps the division finite.
        weight_decay: per unit of learning rate.

    Raises:
        ValueError: a value out of range, no parameters, a sparse gradient.

    State per parameter: `step` (() float32 on the CPU, whatever torch's defaults are),
    `exp_avg` and `exp_avg_sq` like the parameter.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2; Kingma and Ba 2015,
    arXiv:1412.6980, section 3 (bias correction). Departure: lr scales the decay, as in torch.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        require_at_least_zero(lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas are {betas}, but both must be in [0, 1)")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def update_(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Update one parameter and its state in place; the settings are the group's."""
        update_by_adamw_(parameter, gradient, group, state=self.state[parameter])


def update_by_adamw_(
    parameter: Tensor, gradient: Tensor, group: dict[str, Any], *, state: dict[str, Tensor]
) -> None:
    """Update one parameter and its state in place; rate, betas, eps and decay are the group's."""
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device="cpu")
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    beta1, beta2 = group["betas"]
    state["step"] += 1
    updates = state["step"].item()
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    root = (square.sqrt() / (1 - beta2**updates) ** 0.5).add_(group["eps"])
    parameter.addcdiv_(mean, root, value=-group["lr"] / (1 - beta1**updates))
