"""Update parameters by Adam with decoupled weight decay, as `torch.optim.AdamW` does.

Stage: gradients -> *AdamW* -> parameters. `reference.adamw_step` is the same update spelled out;
this file only orders it for speed. Not here: AMSGrad, complex or sparse gradients.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optim._validation import (
    require_betas,
    require_dense_gradients,
    require_known_settings,
    require_non_negative,
)


class AdamW(torch.optim.Optimizer):
    """Adam with decoupled weight decay; equal to `torch.optim.AdamW` up to rounding.

    State of each parameter, tensors only, so that it fits any tensor file: `exp_avg` and
    `exp_avg_sq` in the parameter's shape, type and device, and `step`, a 0-d int64 on the CPU.

    Args:
        params: parameters, or groups of them with settings of their own.
        lr: learning rate, >= 0; a scheduler may write `group["lr"]` between steps.
        betas: decay of the running means of the gradient and of its square, each in [0, 1).
        eps: >= 0, added to the root of the corrected second moment.
        weight_decay: >= 0; parameters shrink by the factor 1 - lr * weight_decay each step.

    Raises:
        ValueError: a setting outside its range, an unknown setting, no parameters.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2. Departure: decay comes before
    the update, as in torch.

    >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> optimizer = AdamW([weight], lr=0.5, weight_decay=0.0)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.detach()
    tensor([ 0.5000, -1.5000])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own, as `torch.optim.Optimizer` does."""
        require_known_settings(param_group, self.defaults)
        settings = self.defaults | param_group
        for name in ("lr", "eps", "weight_decay"):
            require_non_negative(name, settings[name])
        require_betas(settings["betas"])
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
            if parameters:
                _update(parameters, [self._state_of(p) for p in parameters], group=group)
        return loss

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.int64)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state


def _update(
    parameters: list[Tensor], states: list[dict[str, Tensor]], *, group: dict[str, Any]
) -> None:
    """Apply one step to `parameters` and `states`, in place.

    On a GPU a horizontal pass over all tensors saves kernel launches; on a CPU one tensor after
    another keeps the temporaries in the cache.
    """
    if parameters[0].is_cpu:
        for parameter, state in zip(parameters, states, strict=True):
            _update_one(parameter, **state, group=group)
        return
    gradients = [p.grad for p in parameters]
    exp_avgs = [state["exp_avg"] for state in states]
    exp_avg_sqs = [state["exp_avg_sq"] for state in states]
    rates, roots = zip(*(_corrections(state["step"], group=group) for state in states), strict=True)
    beta1, beta2 = group["betas"]
    torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
    torch._foreach_lerp_(exp_avgs, gradients, 1 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, gradients, gradients, 1 - beta2)
    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_add_(denominators, [group["eps"] * root for root in roots])
    torch._foreach_addcdiv_(parameters, exp_avgs, denominators, [-rate for rate in rates])


def _update_one(
    parameter: Float[Tensor, "..."],
    *,
    step: Int[Tensor, ""],
    exp_avg: Float[Tensor, "..."],
    exp_avg_sq: Float[Tensor, "..."],
    group: dict[str, Any],
) -> None:
    rate, root = _corrections(step, group=group)
    beta1, beta2 = group["betas"]
    if group["weight_decay"]:
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
    exp_avg.lerp_(parameter.grad, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
    denominator = exp_avg_sq.sqrt().add_(group["eps"] * root)
    parameter.addcdiv_(exp_avg, denominator, value=-rate)


def _corrections(step: Int[Tensor, ""], *, group: dict[str, Any]) -> tuple[float, float]:
    """Count the step; return the corrected learning rate and sqrt(1 - beta2^t).

    The textbook divides every element of both moments by its correction. Multiplying numerator and
    denominator by sqrt(1 - beta2^t) moves both into scalars and saves a pass over memory.
    """
    step += 1
    beta1, beta2 = group["betas"]
    root = (1 - beta2 ** step.item()) ** 0.5
    return group["lr"] * root / (1 - beta1 ** step.item()), root
