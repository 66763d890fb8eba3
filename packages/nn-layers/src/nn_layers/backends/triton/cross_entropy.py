"""Cross entropy of rows of logits, and its gradient in their place."""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def cross_entropy_rows(
    logits, targets, losses, row_stride, vocabulary, gradient_scale, COLUMNS: tl.constexpr
):
    """Write one row's loss; overwrite its logits by the gradient.

    Grid: (rows,). A row is read twice; the second time it comes from the cache.

    Args:
        logits: (n, vocabulary), `row_stride` elements apart; overwritten by
            (softmax - one-hot target) * gradient_scale.
        targets: (n,) int64 in [0, vocabulary); the loss of any other is nan.
        losses: (n,) float32; written: nats.
        row_stride: between rows of logits.
        vocabulary: columns.
        gradient_scale: usually 1 / n.
        COLUMNS: of a block.
    """
    row = tl.program_id(0).to(tl.int64)
    logits += row * row_stride
    target = tl.load(targets + row)
    # A vector of running peaks and totals, one a lane: the lanes meet once, at the end.
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
