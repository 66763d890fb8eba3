"""Score some rows of logits at a time by our own kernel in Triton; for CUDA.

Stage: hidden states, targets -> *loss*. Logits have the type of the hidden states and are replaced
by their gradient in the same pass: float32 logits never exist, and a chunk fits into the GPU's L2
cache. The plain twin is `loss.cross_entropy` of the logits.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nn_layers.backends.interface import LossBackend, Setting
from nn_layers.backends.operands import check_operands, refuse_second_derivative
from nn_layers.backends.triton.availability import require_kernels, why_no_kernels
from nn_layers.loss import refuse_ignore_index
from nn_layers.precision import as_autocast_has_it

CHUNK_BYTES = 40 * 2**20
"""Of logits at a time: most of the L2 cache of an H100 (50 MB) or H200 (60 MB)."""
CHUNKS_HELD = 4
"""Chunks of gradients kept for one sum into the weight's gradient, which each sum reads and writes
whole, in float32."""


class Backend(LossBackend):
    """`head_loss`."""

    keeps = "triton"
    is_built_first = True
    is_traceable = True

    def rank(self, setting: Setting) -> int | None:
        """Come first on CUDA."""
        return 1 if setting.device.type == "cuda" else None

    def why_not(self, setting: Setting) -> str | None:
        """Return what keeps Triton from running."""
        return why_no_kernels(setting.device)

    def score(
        self, hidden: Tensor, weight: Tensor, targets: Tensor, *, is_compiled: bool
    ) -> Tensor:
        """Return the mean loss."""
        return head_loss(as_autocast_has_it(hidden), as_autocast_has_it(weight), targets)


def head_loss(
    hidden: Float[Tensor, "... d"], weight: Float[Tensor, "v d"], targets: Int[Tensor, "..."]
) -> Float[Tensor, ""]:
    """Return the mean of -log softmax(hidden @ weight.T)[target], in nats.

    Gradients are always computed with the loss; if only the loss is needed, use `cross_entropy`.
    The weight's gradient is summed over the chunks in float32. A target outside [0, v) makes the
    loss nan.

    Raises:
        ValueError: shapes, types or devices that do not match, nothing to average, or, under
            Triton's interpreter, a target of -100.
        NotImplementedError: a second derivative or forward mode; `loss.cross_entropy` has both.
    """
    fits = targets.shape == hidden.shape[:-1] and weight.shape[1:] == hidden.shape[-1:]
    if not fits or weight.dtype != hidden.dtype or targets.numel() == 0:
        raise ValueError(
            f"hidden states {tuple(hidden.shape)} {hidden.dtype}, head {tuple(weight.shape)} "
            f"{weight.dtype} and targets {tuple(targets.shape)} do not fit; give (..., d), (v, d) "
            "of one type, and (...) with at least one target"
        )
    refuse_ignore_index(targets)
    check_operands("head_loss", hidden, weight, targets, plain="cross_entropy")
    return _score(hidden.flatten(0, -2), weight, targets.flatten())[0]


@torch.library.custom_op("nn_layers::head_loss", mutates_args=())
def _score(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss and the gradients of hidden states and weight."""
    require_kernels(hidden.device)
    from nn_layers.backends.triton.cross_entropy import replace_by_gradient_

    count, vocabulary = len(targets), len(weight)
    hidden, targets = hidden.contiguous(), targets.contiguous()
    losses = hidden.new_empty(count, dtype=torch.float32)
    d_hidden = torch.empty_like(hidden)
    d_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
    rows = rows_per_chunk(vocabulary, element_bytes=hidden.element_size())
    held_rows = rows * CHUNKS_HELD
    buffer = hidden.new_empty(min(held_rows, count), vocabulary)
    for start in range(0, count, held_rows):
        held = hidden[start : start + held_rows]
        for first in range(0, len(held), rows):
            chunk = slice(start + first, min(start + first + rows, start + len(held)))
            logits = buffer[first : first + chunk.stop - chunk.start]
            torch.mm(hidden[chunk], weight.T, out=logits)
            replace_by_gradient_(logits, targets[chunk], losses[chunk], gradient_scale=1 / count)
            torch.mm(logits, weight, out=d_hidden[chunk])
        _add_product_(d_weight, buffer[: len(held)].T, held)
    return losses.mean(), d_hidden, d_weight


def rows_per_chunk(vocabulary: int, *, element_bytes: int) -> int:
    """Return how many rows of logits fit `CHUNK_BYTES`, a multiple of 256 and at least that.

    >>> rows_per_chunk(10_000, element_bytes=2)
    2048
    """
    return max(CHUNK_BYTES // (vocabulary * element_bytes) // 256, 1) * 256


def _add_product_(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a @ b, never rounded to a narrow type, to a float32 matrix."""
    if a.dtype != torch.float32 and a.device.type == "cuda":
        total += torch.mm(a, b, out_dtype=torch.float32)
    else:
        total.addmm_(a.float(), b.float())


@_score.register_fake
def _(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_hidden = hidden.new_empty(hidden.shape)
    d_weight = hidden.new_empty(weight.shape, dtype=torch.float32)
    return hidden.new_empty((), dtype=torch.float32), d_hidden, d_weight


def _save(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.weight_dtype = inputs[1].dtype


def _differentiate(ctx: Any, d_loss: Tensor, _: Tensor, __: Tensor) -> tuple[Tensor | None, ...]:
    refuse_second_derivative("head_loss", plain="cross_entropy")
    d_hidden, d_weight = ctx.saved_tensors
    scaled = (d_hidden * d_loss).to(d_hidden.dtype)
    return scaled, (d_weight * d_loss).to(ctx.weight_dtype), None


_score.register_autograd(_differentiate, setup_context=_save)
