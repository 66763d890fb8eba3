"""Attend causally from fused projections on the CPU, by a compiled C++ function.

Stage: inside `rotary_attention`: arrays -> *attention_step.cpp* -> arrays. Products of bfloat16 are
AMX's tiles where the CPU has them.
"""

import ctypes
from collections.abc import Mapping

import torch
from torch import Tensor

from nn_layers.backends.cpu.arrays import pointer_to
from nn_layers.backends.cpu.kernels import load_kernel


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
        qkv: (b, t, (h + 2 g) k).
        cos: (s, k / 2) float32, s >= t; unread without rotation.
        sin: the same.
        heads: query heads h.
        key_heads: key heads g.
        rotation: none, adjacent pairs, halves: 0, 1, 2.

    Raises:
        ValueError: an array of another place, type or size.
    """
    geometry = _geometry(qkv, heads, key_heads, rotation)
    qkv, cos, sin = qkv.contiguous(), cos.float().contiguous(), sin.float().contiguous()
    out = qkv.new_empty(geometry.batch, geometry.length, heads * geometry.width)
    totals = qkv.new_empty(geometry.batch, heads, geometry.length, dtype=torch.float32)
    arrays = {"qkv": qkv, "cos": cos, "sin": sin, "out": out, "totals": totals}
    load_kernel("attention_step", qkv.dtype).attention_forward(*_told(geometry, qkv.dtype, arrays))
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
    """Return the gradient of `qkv`; the other arrays are those of `run_forward`."""
    geometry = _geometry(qkv, heads, key_heads, rotation)
    cos, sin = cos.float(), sin.float()
    saved = (d_out, qkv, cos, sin, out, totals)
    d_out, qkv, cos, sin, out, totals = (one.contiguous() for one in saved)
    d_qkv = torch.empty_like(qkv)
    arrays = {"d_out": d_out, "qkv": qkv, "cos": cos, "sin": sin, "out": out, "totals": totals}
    arrays["d_qkv"] = d_qkv
    load_kernel("attention_step", qkv.dtype).attention_backward(*_told(geometry, qkv.dtype, arrays))
    return d_qkv


def _geometry(qkv: Tensor, heads: int, key_heads: int, rotation: int) -> Geometry:
    batch, length, columns = qkv.shape
    width = columns // (heads + 2 * key_heads)
    threads = torch.get_num_threads()
    return Geometry(batch, length, heads, key_heads, width, rotation, threads)


def _told(
    geometry: Geometry, dtype: torch.dtype, arrays: Mapping[str, Tensor]
) -> tuple[object, ...]:
    """Return a call's arguments, the arrays in their order; projections are of type `dtype`."""
    batch, length, heads = geometry.batch, geometry.length, geometry.heads
    stacked = (batch, length, (heads + 2 * geometry.key_heads) * geometry.width)
    apart = (batch, length, heads * geometry.width)
    kinds = {
        **dict.fromkeys(("qkv", "d_qkv"), (dtype, stacked)),
        **dict.fromkeys(("out", "d_out"), (dtype, apart)),
        **dict.fromkeys(("cos", "sin"), (torch.float32, (length, geometry.width // 2))),
        "totals": (torch.float32, (batch, heads, length)),
    }
    pointers = []
    for name, array in arrays.items():
        is_table = name in ("cos", "sin")
        if is_table and not geometry.rotation:
            pointers.append(ctypes.c_void_p())
            continue
        kind, shape = kinds[name]
        rows = array[:length] if is_table else array
        pointers.append(pointer_to(rows, name, dtype=kind, shape=shape))
    return ctypes.byref(geometry), ctypes.c_int64(dtype.itemsize), *pointers
