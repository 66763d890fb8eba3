"""Score logits in one pass that leaves the gradient behind, or without ever holding all of them.

Stage: hidden states or logits, targets -> *loss*. The plain twin is `loss.cross_entropy`. Both
functions compute the gradient while they compute the loss, because the logits are at hand then:
d loss / d logits = (softmax(logits) - onehot(target)) / n.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from nn_layers.loss import check_targets
from nn_layers.native_loss import replace_by_gradient_natively_
from nn_layers.operands import refuse_second_derivative
from nn_layers.precision import as_autocast_has_it, at_least_float32

ROWS_A_CHUNK = 2048

LossPath = Literal["plain", "compiled", "native"]
"""plain: torch's operations. compiled: torch.compile makes one kernel of them. native: an own
kernel, for a CPU with AVX-512 and a C++ compiler."""


def fused_cross_entropy(
    logits: Float[Tensor, "... v"], targets: Int[Tensor, "..."]
) -> Float[Tensor, ""]:
    """Return `cross_entropy(logits, targets)`; the logits are overwritten by their gradient.

    Args:
        logits: (..., v); unnormalised; not to be used afterwards, so nothing may have kept them.
        targets: (...) ids in [0, v).

    Returns:
        () at least float32.

    Raises:
        ValueError: as `cross_entropy`.
        NotImplementedError: a second derivative or forward mode; `cross_entropy` has both.

    >>> round(float(fused_cross_entropy(torch.zeros(3, 10), torch.arange(3))), 4)
    2.3026
    """
    check_targets(logits.shape, targets)
    return _InPlaceLoss.apply(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def linear_cross_entropy(
    hidden: Float[Tensor, "... d"],
    weight: Float[Tensor, "v d"],
    targets: Int[Tensor, "..."],
    *,
    rows: int = ROWS_A_CHUNK,
    path: LossPath = "plain",
) -> Float[Tensor, ""]:
    """Return `cross_entropy(hidden @ weight.T, targets)` with `rows` rows of logits at a time.

    Under autocast the products run in its type; the weight's gradient is summed over the chunks
    in the weight's own type.

    Args:
        hidden: (..., d) what the head reads.
        weight: (v, d) of the head.
        targets: (...) ids in [0, v).
        rows: positions whose logits exist at one time.
        path: how logits become their gradient, never which; see `LossPath`.

    Returns:
        () at least float32.

    Raises:
        ValueError: as `cross_entropy`; or hidden states and weight of different types.
        NativeError: `path` is native, and this CPU cannot; see `why_no_native_kernels`.
        NotImplementedError: a second derivative or forward mode; `cross_entropy` has both.
    """
    check_targets((*hidden.shape[:-1], len(weight)), targets)
    if as_autocast_has_it(hidden[:0]).dtype != as_autocast_has_it(weight[:0]).dtype:
        raise ValueError(
            f"hidden states are {hidden.dtype} and the head is {weight.dtype}, but products need "
            "one type; convert one, or use autocast"
        )
    return _ChunkedLoss.apply(
        hidden.reshape(-1, hidden.shape[-1]), weight, targets.reshape(-1), rows, path
    )


class _InPlaceLoss(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, targets: Tensor) -> Tensor:
        values = logits.detach()
        loss = _replace_by_gradient_(values, targets, count=len(targets))
        ctx.save_for_backward(values)
        return loss

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("fused_cross_entropy", plain="cross_entropy")
        (gradient,) = ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None


class _ChunkedLoss(Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, path: LossPath
    ) -> Tensor:
        inputs, matrix = as_autocast_has_it(hidden), as_autocast_has_it(weight)
        replace = _replacement(path)
        wants_gradient = any(ctx.needs_input_grad)
        d_hidden = torch.empty_like(inputs)
        d_weight = torch.zeros_like(weight)
        loss = at_least_float32(inputs.new_zeros(()))
        for first in range(0, len(targets), rows):
            part = inputs[first : first + rows]
            logits = part @ matrix.T
            loss += replace(logits, targets[first : first + rows], count=len(targets))
            if wants_gradient:
                torch.mm(logits, matrix, out=d_hidden[first : first + rows])
                d_weight += logits.T @ part
        ctx.save_for_backward(d_hidden.to(hidden.dtype), d_weight)
        return loss

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("linear_cross_entropy", plain="cross_entropy")
        d_hidden, d_weight = (one * grad.to(one.dtype) for one in ctx.saved_tensors)
        return d_hidden, d_weight, None, None, None


def _replace_by_gradient_(
    logits: Float[Tensor, "n v"], targets: Int[Tensor, "n"], *, count: int
) -> Float[Tensor, ""]:
    """Put the gradient in the place of the logits; return their share of a mean over `count`."""
    wide = at_least_float32(logits)
    log_total = _log_of_sum(wide)
    index = targets.unsqueeze(-1)
    loss = (log_total - wide.gather(-1, index)).sum() / count
    gradient = (wide - log_total).exp_()
    gradient.scatter_add_(-1, index, gradient.new_full(index.shape, -1.0))
    logits.copy_(gradient.div_(count))
    return loss


def _replace_by_gradient_in_one_kernel_(
    logits: Float[Tensor, "n v"], targets: Int[Tensor, "n"], *, count: int
) -> Float[Tensor, ""]:
    """Do the same by comparisons instead of indices: more work, but a compiler fuses all of it."""
    wide = at_least_float32(logits)
    log_total = _log_of_sum(wide)
    ids = torch.arange(wide.shape[-1], dtype=torch.int64, device=wide.device)
    is_target = ids == targets.unsqueeze(-1)
    loss = (log_total - wide.gather(-1, targets.unsqueeze(-1))).sum() / count
    logits.copy_(((wide - log_total).exp() - is_target.to(wide.dtype)) / count)
    return loss


def _log_of_sum(wide: Float[Tensor, "n v"]) -> Float[Tensor, "n 1"]:
    """Return log sum exp of each row; the largest is taken out first, so nothing overflows."""
    top = wide.amax(dim=-1, keepdim=True)
    return (wide - top).exp_().sum(dim=-1, keepdim=True).log_() + top


@cache
def _replacement(path: LossPath) -> Callable[..., Tensor]:
    if path == "plain":
        return _replace_by_gradient_
    if path == "native":
        return replace_by_gradient_natively_
    return torch.compile(_replace_by_gradient_in_one_kernel_, fullgraph=True, dynamic=False)
