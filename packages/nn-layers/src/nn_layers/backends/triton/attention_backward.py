"""Compute the gradients of causal attention: of queries, then of keys and values; no atomics.

The weights are recomputed from the saved denominators. Each gradient is summed in the registers of
the one program that owns it, so results are the same in every run.
Source: Dao 2023 (FlashAttention-2), arXiv:2307.08691, algorithm 2. Departure: two kernels, along
rows and along columns of blocks, instead of atomic sums into dq.
"""

from typing import no_type_check

import triton
import triton.language as tl

from nn_layers.backends.triton.rotating import load_rotated, load_tile, store_tile, store_unrotated


@triton.jit
@no_type_check
def attention_backward_queries(
    q, k, v, cos, sin, out, d_out, log_totals, deltas, dq,
    q_batch, q_row, k_batch, k_row, v_batch, v_row, d_out_batch, d_out_row, dq_batch, dq_row,
    length, scale, scale_log2,
    HEADS: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr, ROTATION: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write `dq` and `deltas` for one block of queries of one head.

    Grid: (batch * HEADS * blocks of queries,). Arguments as in `attention_forward`, and

    - out, log_totals: what forward wrote; d_out: (b, t, HEADS, WIDTH), the gradient of out;
    - deltas: (b, HEADS, t) float32; written: sum of out * d_out over the width;
    - dq: (b, t, HEADS, WIDTH); written;
    - scale: 1 / sqrt(WIDTH), and scale_log2: log2(e) times that.
    """
    blocks = tl.cdiv(length, QUERIES)
    first_row = (blocks - 1 - tl.program_id(0) % blocks) * QUERIES
    which = (tl.program_id(0) // blocks).to(tl.int64)
    batch, head = which // HEADS, which % HEADS
    k += batch * k_batch + head // GROUP * WIDTH
    v += batch * v_batch + head // GROUP * WIDTH
    rows = first_row + tl.arange(0, QUERIES)
    queries = load_rotated(
        q + batch * q_batch + head * WIDTH, cos, sin, rows, q_row, length, WIDTH, ROTATION
    )
    out += batch * length * HEADS * WIDTH + head * WIDTH
    d_out += batch * d_out_batch + head * WIDTH
    mixed = load_tile(out, rows, HEADS * WIDTH, length, WIDTH)
    d_mixed = load_tile(d_out, rows, d_out_row, length, WIDTH)
    delta = tl.sum(mixed.to(tl.float32) * d_mixed.to(tl.float32), 1)
    at = which * length + rows
    tl.store(deltas + at, delta, mask=rows < length)
    log_total = tl.load(log_totals + at, mask=rows < length, other=0.0)
    d_queries = tl.zeros((QUERIES, WIDTH), tl.float32)
    diagonal = first_row // KEYS * KEYS
    for start in range(0, diagonal, KEYS):
        d_queries = _add_keys(
            queries, d_mixed, log_total, delta, d_queries, k, v, cos, sin, k_row, v_row,
            rows, start, length, scale_log2, WIDTH, ROTATION, KEYS, PRECISION, False,
        )  # fmt: skip
    for start in range(diagonal, tl.minimum(first_row + QUERIES, length), KEYS):
        d_queries = _add_keys(
            queries, d_mixed, log_total, delta, d_queries, k, v, cos, sin, k_row, v_row,
            rows, start, length, scale_log2, WIDTH, ROTATION, KEYS, PRECISION, True,
        )  # fmt: skip
    store_unrotated(
        dq + batch * dq_batch + head * WIDTH, d_queries * scale,
        cos, sin, rows, dq_row, length, WIDTH, ROTATION,
    )  # fmt: skip


@triton.jit
@no_type_check
def _add_keys(
    queries, d_mixed, log_total, delta, d_queries, k, v, cos, sin, k_row, v_row,
    rows, start, length, scale_log2,
    WIDTH: tl.constexpr, ROTATION: tl.constexpr, KEYS: tl.constexpr,
    PRECISION: tl.constexpr, IS_DIAGONAL: tl.constexpr,
):  # fmt: skip
    """Add what one block of keys contributes to the gradient of a block of queries."""
    columns = start + tl.arange(0, KEYS)
    keys = load_rotated(k, cos, sin, columns, k_row, length, WIDTH, ROTATION)
    values = load_tile(v, columns, v_row, length, WIDTH)
    scores = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
    weights = tl.exp2(scores * scale_log2 - log_total[:, None])
    if IS_DIAGONAL:
        weights = tl.where(columns[None, :] <= rows[:, None], weights, 0.0)
    d_weights = tl.dot(d_mixed, tl.trans(values), input_precision=PRECISION)
    d_scores = (weights * (d_weights - delta[:, None])).to(keys.dtype)
    return tl.dot(d_scores, keys, d_queries, input_precision=PRECISION)


@triton.jit
@no_type_check
def attention_backward_keys(
    q, k, v, cos, sin, d_out, log_totals, deltas, dk, dv,
    q_batch, q_row, k_batch, k_row, v_batch, v_row, d_out_batch, d_out_row,
    dk_batch, dk_row, dv_batch, dv_row,
    length, scale, scale_log2,
    HEADS: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr, ROTATION: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write `dk` and `dv` for one block of keys of one key head.

    Grid: (batch * HEADS / GROUP * blocks of keys,); `attention_backward_queries`, which writes
    `deltas`, comes before. Arguments as there, and dk, dv: (b, t, HEADS / GROUP, WIDTH); written.
    """
    blocks = tl.cdiv(length, KEYS)
    first_column = tl.program_id(0) % blocks * KEYS
    which = (tl.program_id(0) // blocks).to(tl.int64)
    batch, key_head = which // (HEADS // GROUP), which % (HEADS // GROUP)
    columns = first_column + tl.arange(0, KEYS)
    keys = load_rotated(
        k + batch * k_batch + key_head * WIDTH, cos, sin, columns, k_row, length, WIDTH, ROTATION
    )
    values = load_tile(v + batch * v_batch + key_head * WIDTH, columns, v_row, length, WIDTH)
    d_keys = tl.zeros((KEYS, WIDTH), tl.float32)
    d_values = tl.zeros((KEYS, WIDTH), tl.float32)
    # Blocks of queries that hold a row above the last column need the mask.
    first_row = first_column // QUERIES * QUERIES
    unmasked = tl.minimum(tl.cdiv(first_column + KEYS, QUERIES) * QUERIES, length)
    for member in range(GROUP):
        head = key_head * GROUP + member
        head_q = q + batch * q_batch + head * WIDTH
        head_d_out = d_out + batch * d_out_batch + head * WIDTH
        saved = (batch * HEADS + head) * length
        for start in range(first_row, unmasked, QUERIES):
            d_keys, d_values = _add_queries(
                keys, values, d_keys, d_values, head_q, cos, sin, head_d_out, q_row, d_out_row,
                log_totals + saved, deltas + saved, columns, start, length, scale_log2,
                WIDTH, ROTATION, QUERIES, PRECISION, True,
            )  # fmt: skip
        for start in range(unmasked, length, QUERIES):
            d_keys, d_values = _add_queries(
                keys, values, d_keys, d_values, head_q, cos, sin, head_d_out, q_row, d_out_row,
                log_totals + saved, deltas + saved, columns, start, length, scale_log2,
                WIDTH, ROTATION, QUERIES, PRECISION, False,
            )  # fmt: skip
    store_unrotated(
        dk + batch * dk_batch + key_head * WIDTH, d_keys * scale,
        cos, sin, columns, dk_row, length, WIDTH, ROTATION,
    )  # fmt: skip
    store_tile(dv + batch * dv_batch + key_head * WIDTH, d_values, columns, dv_row, length, WIDTH)


@triton.jit
@no_type_check
def _add_queries(
    keys, values, d_keys, d_values, q, cos, sin, d_out, q_row, d_out_row, log_totals, deltas,
    columns, start, length, scale_log2,
    WIDTH: tl.constexpr, ROTATION: tl.constexpr, QUERIES: tl.constexpr,
    PRECISION: tl.constexpr, IS_DIAGONAL: tl.constexpr,
):  # fmt: skip
    """Add what one block of queries contributes to the gradients of a block of keys and values."""
    rows = start + tl.arange(0, QUERIES)
    queries = load_rotated(q, cos, sin, rows, q_row, length, WIDTH, ROTATION)
    d_mixed = load_tile(d_out, rows, d_out_row, length, WIDTH)
    log_total = tl.load(log_totals + rows, mask=rows < length, other=0.0)
    delta = tl.load(deltas + rows, mask=rows < length, other=0.0)
    scores = tl.dot(keys, tl.trans(queries), input_precision=PRECISION)  # (keys, queries)
    weights = tl.exp2(scores * scale_log2 - log_total[None, :])
    if IS_DIAGONAL:
        weights = tl.where(columns[:, None] <= rows[None, :], weights, 0.0)
    d_values = tl.dot(weights.to(values.dtype), d_mixed, d_values, input_precision=PRECISION)
    d_weights = tl.dot(values, tl.trans(d_mixed), input_precision=PRECISION)
    d_scores = (weights * (d_weights - delta[None, :])).to(queries.dtype)
    return tl.dot(d_scores, queries, d_keys, input_precision=PRECISION), d_values
