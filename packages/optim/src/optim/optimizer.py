"""Walk parameter groups and update each parameter that has a gradient.

Stage: gradients -> *update* -> weights; the loop that all optimizers share. Not here: what an
update is (`adamw.py`, `muon.py`, `sgd.py`).
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar, overload

import torch
from torch import Tensor

Loss = TypeVar("Loss", float, Tensor)


class Optimizer(torch.optim.Optimizer):
    """An optimizer that is complete once it has `update_`, for one parameter."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], Loss]) -> Loss: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; return what `closure` returns.

        Raises:
            ValueError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.update_group_(group)
        return loss

    def update_group_(self, group: dict[str, Any]) -> None:
        """Update the parameters of a group, one after another."""
        for parameter in group["params"]:
            gradient = dense_gradient(parameter)
            if gradient is not None:
                self.update_(parameter, gradient, group)

    @abstractmethod
    def update_(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Update one parameter and its state in place; the settings are the group's."""


def dense_gradient(parameter: Tensor) -> Tensor | None:
    """Return the gradient, None where there is none; ValueError for a sparse one."""
    gradient = parameter.grad
    if gradient is not None and gradient.is_sparse:
        raise ValueError("a gradient is sparse, but only dense ones are supported; use dense ones")
    return gradient
