"""Replace rows of logits by the gradient of their cross entropy."""

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

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


@triton.jit
@no_type_check
def cross_entropy_rows(
    logits, targets, losses, row_stride, vocabulary, gradient_scale, COLUMNS: tl.constexpr
):
    """Write one row's loss in nats; overwrite its logits by their gradient.

    Grid: (rows,). Tensors as in `replace_by_gradient_`; rows are `row_stride` elements apart. A row
    is read twice, the second time from the cache. The loss of a target that is no id is nan.
    """
    row = tl.program_id(0).to(tl.int64)
    logits += row * row_stride
    target = tl.load(targets + row)
    # One running peak and total per lane; the lanes meet once, at the end.
    peaks = tl.full((COLUMNS,), float("-inf"), tl.float32)
    totals = tl.zeros((COLUMNS,), tl.float32)
    for start in range(0, vocabulary, COLUMNS):
        at = start + tl.arange(0, COLUMNS)
        block = tl.load(logits + at, mask=at < vocabulary, other=float("-inf")).to(tl.float32)
        new_peaks = tl.maximum(peaks, block)
        # A lane that has seen nothing but -inf has no peak to subtract.
        anchor = tl.where(new_peaks == float("-inf"), 0.0, new_peaks)
        totals = totals * tl.exp(peaks - anchor) + tl.exp(block - anchor)
        peaks = new_peaks
    peak = tl.max(peaks, 0)
    log_total = peak + tl.log(tl.sum(totals * tl.exp(peaks - peak), 0))
    is_id = (target >= 0) & (target < vocabulary)
    chosen = tl.load(logits + target, mask=is_id, other=float("nan")).to(tl.float32)
    tl.store(losses + row, log_total - chosen)
    tl.debug_barrier()  # no thread overwrites the target's logit before all have read it
    for start in range(0, vocabulary, COLUMNS):
        at = start + tl.arange(0, COLUMNS)
        block = tl.load(logits + at, mask=at < vocabulary, other=float("-inf")).to(tl.float32)
        gradient = tl.exp(block - log_total) - tl.where(at == target, 1.0, 0.0)
        kind = logits.dtype.element_ty
        tl.store(logits + at, (gradient * gradient_scale).to(kind), mask=at < vocabulary)
