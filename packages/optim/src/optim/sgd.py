"""Update parameters by plain gradient descent.

Stage: gradients -> *SGD* -> parameters. Not here: momentum.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optim._validation import (
    require_dense_gradients,
    require_known_settings,
    require_non_negative,
)


class SGD(torch.optim.Optimizer):
    """parameter <- parameter - rate * (gradient + weight_decay * parameter).

    The rate is `lr`, or, with `inverse_sqrt_decay`, lr / sqrt(t + 1) at step t = 0, 1, ... of that
    parameter. Only then does a parameter have state: `step`, a 0-d int64 tensor on the CPU.

    Args:
        params: parameters, or groups of them with settings of their own.
        lr: learning rate, >= 0.
        weight_decay: >= 0; without momentum, decoupled and L2 decay are the same.
        inverse_sqrt_decay: divide the rate by sqrt(t + 1), as the CS336 handout's example does.

    Raises:
        ValueError: a setting outside its range, an unknown setting, no parameters.

    >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> optimizer = SGD([weight], lr=0.25)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.detach()
    tensor([ 0.5000, -1.0000])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        *,
        weight_decay: float = 0.0,
        inverse_sqrt_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "weight_decay": weight_decay, "inverse_sqrt_decay": inverse_sqrt_decay},
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own, as `torch.optim.Optimizer` does."""
        require_known_settings(param_group, self.defaults)
        settings = self.defaults | param_group
        for name in ("lr", "weight_decay"):
            require_non_negative(name, settings[name])
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float | Tensor] | None = None) -> float | Tensor | None:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss anew and its gradients.

        Returns:
            What `closure` returned.

        Raises:
            ValueError: a gradient is sparse or complex.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            require_dense_gradients([p.grad for p in parameters])
            for parameter in parameters:
                rate = self._rate(parameter, group=group)
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.add_(parameter.grad, alpha=-rate)
        return loss

    def _rate(self, parameter: Tensor, *, group: dict[str, Any]) -> float:
        if not group["inverse_sqrt_decay"]:
            return group["lr"]
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.int64)
        rate = group["lr"] / (state["step"].item() + 1) ** 0.5
        state["step"] += 1
        return rate
