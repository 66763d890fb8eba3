"""Attend causally from fused projections on the CPU, by a compiled C++ function.

Stage: inside `attention_kernel`: arrays -> *attention_step.cpp* -> arrays. Products of bfloat16 are
AMX's tiles where the CPU has them.
"""

import ctypes

import torch
from torch import Tensor

from nn_layers.native_kernels import load_kernel


class Geometry(ctypes.Structure):
    """Heads and rotation, as attention_step.cpp has them."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("batch", "length", "heads", "key_heads", "width", "rotation", "threads")
    )


def run_forward(
    qkv: Tensor, cos: Tensor, sin: Tensor, *, heads: int, key_heads: int, rotation: int
) -> tuple[Tensor, Tensor]:
    """Return heads, (b, t, h k), and the logarithms of the totals, (b, h, t) float32.

    Args:
        qkv: (b, t, (h + 2 g) k), contiguous.
        cos: (s, k / 2) float32, contiguous; unread without rotation.
        sin: the same.
        heads: query heads h.
        key_heads: key heads g.
        rotation: none, adjacent pairs, halves: 0, 1, 2.
    """
    geometry = _geometry(qkv, heads, key_heads, rotation)
    out = qkv.new_empty(geometry.batch, geometry.length, heads * geometry.width)
    totals = torch.empty(geometry.batch, heads, geometry.length)
    load_kernel("attention_step", qkv.dtype).attention_forward(
        *_told(geometry, qkv, cos, sin, out, totals)
    )
    return out, totals


def run_backward(
    d_out: Tensor,
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    out: Tensor,
    totals: Tensor,
    *,
    heads: int,
    key_heads: int,
    rotation: int,
) -> Tensor:
    """Return the gradient of `qkv`; all arrays are contiguous, and of `run_forward`."""
    geometry = _geometry(qkv, heads, key_heads, rotation)
    d_qkv = torch.empty_like(qkv)
    arrays = (d_out, qkv, cos, sin, out, totals, d_qkv)
    load_kernel("attention_step", qkv.dtype).attention_backward(*_told(geometry, *arrays))
    return d_qkv


def _geometry(qkv: Tensor, heads: int, key_heads: int, rotation: int) -> Geometry:
    batch, length, columns = qkv.shape
    width = columns // (heads + 2 * key_heads)
    threads = torch.get_num_threads()
    return Geometry(batch, length, heads, key_heads, width, rotation, threads)


def _told(geometry: Geometry, *arrays: Tensor) -> tuple[object, ...]:
    """Return a call's arguments; the first array is of the projections' type."""
    size = ctypes.c_int64(arrays[0].element_size())
    pointers = (ctypes.c_void_p(array.data_ptr()) for array in arrays)
    return ctypes.byref(geometry), size, *pointers
