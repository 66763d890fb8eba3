"""Replace logits by the gradient of their cross entropy on the CPU, by a compiled C++ function.

Stage: inside `fused_loss`: logits -> *loss_step.cpp* -> losses, and gradients in their place.
"""

import ctypes

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nn_layers.native_kernels import load_kernel


def replace_by_gradient_natively_(
    logits: Float[Tensor, "n v"], targets: Int[Tensor, "n"], *, count: int
) -> Float[Tensor, ""]:
    """Put the gradient in the place of the logits; return their share of a mean over `count`.

    Args:
        logits: contiguous, float32 or bfloat16 on the CPU.
        targets: int64 ids in [0, v).
        count: rows of the whole batch.

    Raises:
        NativeError: this CPU cannot; see `why_no_native_kernels`.
        ValueError: arrays that the kernel would read or write wrongly, or beyond their ends.
    """
    rows, columns = logits.shape
    if logits.device.type != "cpu" or not logits.is_contiguous() or targets.dtype != torch.int64:
        raise ValueError(
            f"logits are on {logits.device} with strides {logits.stride()} and targets "
            f"{targets.dtype}, but contiguous logits on the CPU and int64 targets are needed"
        )
    least, most = (int(one) for one in targets.aminmax())
    if targets.shape != (rows,) or least < 0 or most >= columns:
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} are {least} .. {most}, but {rows} ids of "
            f"0 .. {columns - 1} are needed"
        )
    losses = torch.empty(rows)
    targets = targets.contiguous()
    load_kernel("loss_step", logits.dtype).loss_replace(
        ctypes.c_int64(logits.element_size()),
        ctypes.c_void_p(logits.data_ptr()),
        ctypes.c_void_p(targets.data_ptr()),
        ctypes.c_int64(rows),
        ctypes.c_int64(columns),
        ctypes.c_float(1 / count),
        ctypes.c_int64(torch.get_num_threads()),
        ctypes.c_void_p(losses.data_ptr()),
    )
    return losses.sum() / count
