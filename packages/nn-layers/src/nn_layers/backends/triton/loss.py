"""Launch the kernel that turns logits into losses and gradients."""

from typing import Any

import torch
from torch import Tensor

from nn_layers.backends.triton.cross_entropy import cross_entropy_rows

COLUMNS = 2048
WARPS = 8


def replace_by_gradient_(
    logits: Tensor, targets: Tensor, losses: Tensor, *, gradient_scale: float
) -> None:
    """Write each row's loss; overwrite its logits by their gradient, times `gradient_scale`.

    Args:
        logits: (n, v), rows contiguous; overwritten.
        targets: (n,) int64 in [0, v), contiguous.
        losses: (n,) float32, contiguous; written.
        gradient_scale: usually 1 / all positions.
    """
    rows, vocabulary = logits.shape
    kernel: Any = cross_entropy_rows
    with torch.cuda.device_of(logits):  # Triton launches on the current device
        kernel[(rows,)](
            logits, targets, losses, logits.stride(0), vocabulary, gradient_scale,
            COLUMNS=COLUMNS, num_warps=WARPS,
        )  # fmt: skip
