"""Attend causally from fused projections on the CPU, by a compiled C++ function.

Stage: inside `rotary_attention`: arrays -> *attention_step.cpp* -> arrays. Products of bfloat16 use
AMX's tiles if the CPU has them.
"""

import ctypes

import torch
from torch import Tensor

from nn_layers.backends.cpu.arrays import pointer_to
from nn_layers.backends.cpu.kernels import load_kernel


class Geometry(ctypes.Structure):
    """Heads and rotation, laid out as in attention_step.cpp."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("batch", "length", "heads", "key_heads", "width", "rotation", "threads")
    )


def run_forward(
    qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, key_heads: int, rotation: int
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
    out = qkv.new_empty(geometry.batch, geometry.length, heads * geometry.width)
    totals = qkv.new_empty(geometry.batch, heads, geometry.length, dtype=torch.float32)
    arrays = {"qkv": qkv.contiguous(), "cos": cos, "sin": sin, "out": out, "totals": totals}
    _call("attention_forward", geometry, arrays)
    return out, totals


def run_backward(
    d_out: Tensor,
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    out: Tensor,
    totals: Tensor,
    heads: int,
    key_heads: int,
    rotation: int,
) -> Tensor:
    """Return the gradient of `qkv`; the other arrays are those of `run_forward`."""
    geometry = _geometry(qkv, heads, key_heads, rotation)
    arrays = {"d_out": d_out.contiguous(), "qkv": qkv.contiguous(), "cos": cos, "sin": sin}
    arrays |= {"out": out.contiguous(), "totals": totals.contiguous()}
    arrays["d_qkv"] = torch.empty_like(arrays["qkv"])
    _call("attention_backward", geometry, arrays)
    return arrays["d_qkv"]


def _geometry(qkv: Tensor, heads: int, key_heads: int, rotation: int) -> Geometry:
    batch, length, columns = qkv.shape
    width = columns // (heads + 2 * key_heads)
    threads = torch.get_num_threads()
    return Geometry(batch, length, heads, key_heads, width, rotation, threads)


def _call(function: str, g: Geometry, arrays: dict[str, Tensor]) -> None:
    """Call a function with arrays in the order of its arguments, having checked each."""
    dtype = arrays["qkv"].dtype
    stacked = (g.batch, g.length, (g.heads + 2 * g.key_heads) * g.width)
    kinds = {
        **dict.fromkeys(("qkv", "d_qkv"), (dtype, stacked)),
        **dict.fromkeys(("out", "d_out"), (dtype, (g.batch, g.length, g.heads * g.width))),
        **dict.fromkeys(("cos", "sin"), (torch.float32, (g.length, g.width // 2))),
        "totals": (torch.float32, (g.batch, g.heads, g.length)),
    }
    for name in ("cos", "sin"):
        arrays[name] = arrays[name].float().contiguous()[: g.length]
    pointers = [
        ctypes.c_void_p()
        if name in ("cos", "sin") and not g.rotation
        else pointer_to(array, name, dtype=kinds[name][0], shape=kinds[name][1])
        for name, array in arrays.items()
    ]
    kernel = getattr(load_kernel("attention_step", dtype), function)
    kernel(ctypes.byref(g), ctypes.c_int64(dtype.itemsize), *pointers)
