"""Score some rows of logits at a time, so that they never exist all at once.

Stage: hidden states, targets -> *loss*. Head and loss are computed together, with their gradients;
the plain twin is `loss.cross_entropy`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function

from nn_layers.backends.cpu.loss import replace_by_gradient_natively_
from nn_layers.backends.interface import LossBackend, Setting
from nn_layers.backends.loss.in_place import log_of_sum, replace_by_gradient_
from nn_layers.backends.operands import refuse_second_derivative
from nn_layers.loss import check_targets
from nn_layers.precision import as_autocast_has_it, at_least_float32

ROWS_A_CHUNK = 2048

LossPath = Literal["plain", "compiled", "native"]
"""plain: torch's operations. compiled: torch.compile fuses them. native: our kernel, for a CPU with
AVX-512 and a C++ compiler."""


class Backend(LossBackend):
    """`linear_cross_entropy` by torch's operations."""

    keeps = "chunked"

    def rank(self, setting: Setting) -> int | None:
        """Come second, except on CUDA."""
        return None if setting.device.type == "cuda" else 2

    def score(
        self, hidden: Tensor, weight: Tensor, targets: Tensor, *, is_compiled: bool
    ) -> Tensor:
        """Return the mean loss."""
        path = "compiled" if is_compiled else "plain"
        return linear_cross_entropy(hidden, weight, targets, path=path)


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
    in the weight's own type. `path` is how logits become their gradient, never which.

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


class _ChunkedLoss(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, path: LossPath
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
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("linear_cross_entropy", plain="cross_entropy")
        (grad,) = grad_outputs
        d_hidden, d_weight = (one * grad.to(one.dtype) for one in ctx.saved_tensors)
        return d_hidden, d_weight, None, None, None


def _replace_by_gradient_in_one_kernel_(
    logits: Float[Tensor, "n v"], targets: Int[Tensor, "n"], *, count: int
) -> Float[Tensor, ""]:
    """Do the same by comparisons instead of indices: more work, but a compiler fuses it all."""
    wide = at_least_float32(logits)
    log_total = log_of_sum(wide)
    ids = torch.arange(wide.shape[-1], dtype=torch.int64, device=wide.device)
    is_target = ids == targets.unsqueeze(-1)
    loss = (log_total - wide.gather(-1, targets.unsqueeze(-1))).sum() / count
    logits.copy_(((wide - log_total).exp() - is_target.to(wide.dtype)) / count)
    return loss


@cache
def _replacement(path: LossPath) -> Callable[..., Tensor]:
    if path == "plain":
        return replace_by_gradient_
    if path == "native":
        return replace_by_gradient_natively_
    return torch.compile(_replace_by_gradient_in_one_kernel_, fullgraph=True, dynamic=False)
