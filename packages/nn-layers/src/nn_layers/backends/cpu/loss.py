"""Overwrite logits by the gradient of their cross entropy on the CPU, by a compiled C++ function.

Stage: inside `loss.chunked`: logits -> *loss_step.cpp* -> losses, and gradients in their place.
"""

import ctypes

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nn_layers.backends.cpu.arrays import pointer_to
from nn_layers.backends.cpu.kernels import load_kernel


def replace_by_gradient_natively_(
    logits: Float[Tensor, "n v"], targets: Int[Tensor, "n"], *, count: int
) -> Float[Tensor, ""]:
    """Overwrite logits by their gradient; return their share of a mean over `count`.

    Raises:
        NativeError: this CPU cannot; see `why_no_native_kernels`.
        ValueError: arrays that the kernel would read or write wrongly, or beyond their ends.
    """
    rows, columns = logits.shape
    targets = targets.contiguous()
    losses = logits.new_empty(rows, dtype=torch.float32)
    pointers = (
        pointer_to(logits, "logits", dtype=logits.dtype, shape=(rows, columns)),
        pointer_to(targets, "targets", dtype=torch.int64, shape=(rows,)),
        pointer_to(losses, "losses", dtype=torch.float32, shape=(rows,)),
    )
    least, most = (int(one) for one in targets.aminmax())
    if least < 0 or most >= columns:
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} are {least} .. {most}, but {rows} ids of "
            f"0 .. {columns - 1} are needed"
        )
    sizes = map(ctypes.c_int64, (logits.element_size(), rows, columns, torch.get_num_threads()))
    share = ctypes.c_float(1 / count)
    load_kernel("loss_step", logits.dtype).loss_replace(*pointers, *sizes, share)
    return losses.sum() / count
