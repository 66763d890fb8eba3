"""Load and store tiles of heads, rotated by position on the way, for the attention kernels.

A rotated tile has its pairs side by side whichever layout it was loaded from. Queries and keys are
permuted alike, which leaves their products unchanged, so one matrix product serves both layouts.
"""

from typing import no_type_check

import triton
import triton.language as tl

# How the axes of a head pair up.
NONE = tl.constexpr(0)
ADJACENT = tl.constexpr(1)
HALF = tl.constexpr(2)


@triton.jit
@no_type_check
def load_tile(x, rows, stride, length, WIDTH: tl.constexpr):
    """Return (rows, WIDTH) of `x`, zeros beyond `length`."""
    columns = tl.arange(0, WIDTH)
    at = x + rows[:, None] * stride + columns[None, :]
    return tl.load(at, mask=(rows < length)[:, None], other=0.0)


@triton.jit
@no_type_check
def load_rotated(
    x, cos, sin, rows, stride, length, WIDTH: tl.constexpr, ROTATION: tl.constexpr
):  # fmt: skip
    """Return (rows, WIDTH) of `x`, turned by the angles of its rows in float32, in its own type.

    `x` points to one head, with `stride` elements between positions; `cos` and `sin` point to
    (length, WIDTH / 2) float32. Rows beyond `length` are zeros; WIDTH is a power of two.
    """
    if ROTATION == NONE:
        tile = load_tile(x, rows, stride, length, WIDTH)
    else:
        c, s = load_angles(cos, sin, rows, length, WIDTH)
        first, second = _load_pairs(x, rows, stride, length, WIDTH, ROTATION)
        first, second = first.to(tl.float32), second.to(tl.float32)
        turned = tl.interleave(first * c - second * s, first * s + second * c)
        tile = turned.to(x.dtype.element_ty)
    return tile


@triton.jit
@no_type_check
def store_unrotated(
    x, tile, cos, sin, rows, stride, length, WIDTH: tl.constexpr, ROTATION: tl.constexpr
):  # fmt: skip
    """Turn a float32 tile of gradients back and store it; arguments as in `load_rotated`."""
    kind = x.dtype.element_ty
    if ROTATION == NONE:
        store_tile(x, tile, rows, stride, length, WIDTH)
    else:
        c, s = load_angles(cos, sin, rows, length, WIDTH)
        first, second = tl.split(tl.reshape(tile, (tile.shape[0], WIDTH // 2, 2)))
        back_first = first * c + second * s
        back_second = second * c - first * s
        if ROTATION == ADJACENT:
            whole = tl.interleave(back_first, back_second)
            store_tile(x, whole, rows, stride, length, WIDTH)
        else:
            pairs = tl.arange(0, WIDTH // 2)
            at = x + rows[:, None] * stride + pairs[None, :]
            is_row = (rows < length)[:, None]
            tl.store(at, back_first.to(kind), mask=is_row)
            tl.store(at + WIDTH // 2, back_second.to(kind), mask=is_row)


@triton.jit
@no_type_check
def store_tile(x, tile, rows, stride, length, WIDTH: tl.constexpr):
    """Store (rows, WIDTH) in the type of `x`, nothing beyond `length`."""
    columns = tl.arange(0, WIDTH)
    at = x + rows[:, None] * stride + columns[None, :]
    tl.store(at, tile.to(x.dtype.element_ty), mask=(rows < length)[:, None])


@triton.jit
@no_type_check
def load_angles(cos, sin, rows, length, WIDTH: tl.constexpr):
    """Return the cosines and sines of a tile's rows, (rows, WIDTH / 2) float32 each."""
    pairs = tl.arange(0, WIDTH // 2)
    at = rows[:, None] * (WIDTH // 2) + pairs[None, :]
    is_row = (rows < length)[:, None]
    return tl.load(cos + at, mask=is_row, other=0.0), tl.load(sin + at, mask=is_row, other=0.0)


@triton.jit
@no_type_check
def _load_pairs(x, rows, stride, length, WIDTH: tl.constexpr, ROTATION: tl.constexpr):
    """Return the first and the second of each pair, (rows, WIDTH / 2) each."""
    if ROTATION == ADJACENT:
        # One wide load, split in registers: loads of every other element would not coalesce.
        tile = load_tile(x, rows, stride, length, WIDTH)
        first, second = tl.split(tl.reshape(tile, (tile.shape[0], WIDTH // 2, 2)))
    else:
        first = load_tile(x, rows, stride, length, WIDTH // 2)
        second = load_tile(x + WIDTH // 2, rows, stride, length, WIDTH // 2)
    return first, second
