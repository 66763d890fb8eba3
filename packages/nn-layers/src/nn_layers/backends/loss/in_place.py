"""Score all logits at once and overwrite them with their gradient.

Stage: logits, targets -> *loss*. The plain twin is `loss.cross_entropy`. The gradient is computed
with the loss, while the logits are at hand: (softmax(logits) - onehot(target)) / n.
"""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function

from nn_layers.backends.interface import LossBackend
from nn_layers.backends.operands import refuse_second_derivative
from nn_layers.loss import check_targets
from nn_layers.precision import at_least_float32


class Backend(LossBackend):
    """`fused_cross_entropy`."""

    keeps = "in-place"

    def score(
        self, hidden: Tensor, weight: Tensor, targets: Tensor, *, is_compiled: bool
    ) -> Tensor:
        """Return the mean loss."""
        return fused_cross_entropy(hidden @ weight.T, targets)


def fused_cross_entropy(
    logits: Float[Tensor, "... v"], targets: Int[Tensor, "..."]
) -> Float[Tensor, ""]:
    """Return `cross_entropy(logits, targets)`; the logits are overwritten by their gradient.

    Nothing else may use the logits afterwards.

    Raises:
        ValueError: as `cross_entropy`.
        NotImplementedError: a second derivative or forward mode; `cross_entropy` has both.

    >>> import torch
    >>> round(float(fused_cross_entropy(torch.zeros(3, 10), torch.arange(3))), 4)
    2.3026
    """
    check_targets(logits.shape, targets)
    return _InPlaceLoss.apply(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


class _InPlaceLoss(Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        values = logits.detach()
        loss = replace_by_gradient_(values, targets, count=len(targets))
        ctx.save_for_backward(values)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("fused_cross_entropy", plain="cross_entropy")
        (grad,), (gradient,) = grad_outputs, ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None


def replace_by_gradient_(
    logits: Float[Tensor, "n v"], targets: Int[Tensor, "n"], *, count: int
) -> Float[Tensor, ""]:
    """Overwrite logits by their gradient; return their share of a mean over `count`."""
    wide = at_least_float32(logits)
    log_total = log_of_sum(wide)
    index = targets.unsqueeze(-1)
    loss = (log_total - wide.gather(-1, index)).sum() / count
    gradient = (wide - log_total).exp_()
    gradient.scatter_add_(-1, index, gradient.new_full(index.shape, -1.0))
    logits.copy_(gradient.div_(count))
    return loss


def log_of_sum(wide: Float[Tensor, "n v"]) -> Float[Tensor, "n 1"]:
    """Return log sum exp of each row; the largest is subtracted first, so nothing overflows."""
    top = wide.amax(dim=-1, keepdim=True)
    return (wide - top).exp_().sum(dim=-1, keepdim=True).log_() + top
