"""Compute softmax(q k^T / sqrt(width)) v causally, block by block, rotation included."""

from typing import no_type_check

import triton
import triton.language as tl

from nn_layers.backends.triton.rotating import load_rotated, load_tile, store_tile


@triton.jit
@no_type_check
def attention_forward(
    q, k, v, cos, sin, out, log_totals,
    q_batch, q_row, k_batch, k_row, v_batch, v_row,
    length, scale_log2,
    HEADS: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr, ROTATION: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write `out` and `log_totals` for one block of queries of one head.

    Grid: (batch * HEADS * blocks of queries,). Heads lie WIDTH elements apart in all tensors,
    sequences *_batch and positions *_row.

    - q: (b, t, HEADS, WIDTH); k, v: (b, t, HEADS / GROUP, WIDTH);
    - cos, sin: (length, WIDTH / 2) float32; unused without rotation;
    - out: (b, t, HEADS, WIDTH), contiguous; written;
    - log_totals: (b, HEADS, t) float32; written: log2 of the softmax's denominator;
    - scale_log2: log2(e) / sqrt(WIDTH), so that exp2 replaces exp;
    - GROUP: query heads per key head; ROTATION: see `rotating`; QUERIES, KEYS: rows of a block;
    - PRECISION: of float32 products.
    """
    blocks = tl.cdiv(length, QUERIES)
    # Of a head, the longest rows first: what is left at the end is short.
    first_row = (blocks - 1 - tl.program_id(0) % blocks) * QUERIES
    which = (tl.program_id(0) // blocks).to(tl.int64)
    batch, head = which // HEADS, which % HEADS
    k += batch * k_batch + head // GROUP * WIDTH
    v += batch * v_batch + head // GROUP * WIDTH
    rows = first_row + tl.arange(0, QUERIES)
    queries = load_rotated(
        q + batch * q_batch + head * WIDTH, cos, sin, rows, q_row, length, WIDTH, ROTATION
    )
    peak = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    mixed = tl.zeros((QUERIES, WIDTH), tl.float32)
    diagonal = first_row // KEYS * KEYS
    for start in range(0, diagonal, KEYS):
        peak, total, mixed = _attend_block(
            queries, k, v, cos, sin, k_row, v_row, rows, start, length, scale_log2,
            peak, total, mixed, WIDTH, ROTATION, KEYS, PRECISION, False,
        )  # fmt: skip
    for start in range(diagonal, tl.minimum(first_row + QUERIES, length), KEYS):
        peak, total, mixed = _attend_block(
            queries, k, v, cos, sin, k_row, v_row, rows, start, length, scale_log2,
            peak, total, mixed, WIDTH, ROTATION, KEYS, PRECISION, True,
        )  # fmt: skip
    store_tile(
        out + batch * length * HEADS * WIDTH + head * WIDTH,
        mixed / total[:, None], rows, HEADS * WIDTH, length, WIDTH,
    )  # fmt: skip
    at = log_totals + which * length + rows
    tl.store(at, peak + tl.log2(total), mask=rows < length)


@triton.jit
@no_type_check
def _attend_block(
    queries, k, v, cos, sin, k_row, v_row, rows, start, length, scale_log2,
    peak, total, mixed,
    WIDTH: tl.constexpr, ROTATION: tl.constexpr, KEYS: tl.constexpr,
    PRECISION: tl.constexpr, IS_DIAGONAL: tl.constexpr,
):  # fmt: skip
    """Add one block of keys and values to the running softmax.

    Source: Milakov and Gimelshein 2018, arXiv:1805.02867, algorithm 3; Dao 2023,
    arXiv:2307.08691, algorithm 1.
    """
    columns = start + tl.arange(0, KEYS)
    keys = load_rotated(k, cos, sin, columns, k_row, length, WIDTH, ROTATION)
    scores = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
    if IS_DIAGONAL:
        # Column 0 is seen by every row and comes first, so that no peak stays at -inf.
        scores = tl.where(columns[None, :] <= rows[:, None], scores, float("-inf"))
    new_peak = tl.maximum(peak, tl.max(scores, 1) * scale_log2)
    weights = tl.exp2(scores * scale_log2 - new_peak[:, None])
    shrink = tl.exp2(peak - new_peak)
    values = load_tile(v, columns, v_row, length, WIDTH)
    mixed = mixed * shrink[:, None]
    mixed = tl.dot(weights.to(values.dtype), values, mixed, input_precision=PRECISION)
    return new_peak, total * shrink + tl.sum(weights, 1), mixed
