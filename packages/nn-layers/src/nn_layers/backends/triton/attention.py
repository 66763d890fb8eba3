"""Launch the attention kernels: block sizes, grids and buffers.

Block sizes are written down, not searched for: a search at start-up would cost more than it gains
in a run of minutes. They fit into the shared memory and registers of one H100 multiprocessor, as
`tests/nn_layers/test_kernel_compilation.py` shows without one.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nn_layers.backends.triton.attention_backward import (
    attention_backward_keys,
    attention_backward_queries,
)
from nn_layers.backends.triton.attention_forward import attention_forward

LOG2_E = 1.4426950408889634


@dataclass(frozen=True, slots=True)
class Blocks:
    """How one kernel cuts the square of scores, and what runs a block."""

    queries: int
    keys: int
    warps: int
    stages: int


def forward_blocks(*, is_narrow: bool) -> Blocks:
    """Return how the forward kernel cuts its work; `is_narrow`: 16-bit inputs."""
    return Blocks(64, 64, 4, 2) if is_narrow else Blocks(32, 32, 4, 1)


def backward_blocks(width: int, *, is_narrow: bool) -> tuple[Blocks, Blocks]:
    """Return how the kernels for the gradients of queries, and of keys and values, cut theirs."""
    if not is_narrow:
        return Blocks(32, 32, 4, 1), Blocks(32, 32, 4, 1)
    if width <= 64:
        return Blocks(64, 64, 4, 2), Blocks(64, 64, 4, 1)
    return Blocks(64, 64, 8, 1), Blocks(64, 64, 8, 1)


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the kernels need to know of fused queries, keys and values, (b, t, (h + 2 g) k)."""

    heads: int
    key_heads: int
    width: int
    rotation: int
    """As in `rotating`: 0 none, 1 adjacent, 2 half."""

    def parts(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return views of the queries, keys and values."""
        sizes = [self.heads * self.width, *2 * [self.key_heads * self.width]]
        q, k, v = qkv.split(sizes, dim=-1)
        return q, k, v

    def constants(self, qkv: Tensor, blocks: Blocks) -> dict[str, object]:
        """Return the compile-time arguments of a kernel."""
        return {
            "HEADS": self.heads,
            "GROUP": self.heads // self.key_heads,
            "WIDTH": self.width,
            "ROTATION": self.rotation,
            "QUERIES": blocks.queries,
            "KEYS": blocks.keys,
            "PRECISION": "ieee" if qkv.dtype == torch.float32 else "tf32",
            "num_warps": blocks.warps,
            "num_stages": blocks.stages,
        }


def run_forward(
    qkv: Tensor, cos: Tensor, sin: Tensor, *, heads: int, key_heads: int, rotation: int
) -> tuple[Tensor, Tensor]:
    """Return (b, t, h k) heads and (b, h, t) float32 log2 denominators."""
    batch, length, _ = qkv.shape
    geometry = _geometry(qkv, heads, key_heads, rotation)
    out = qkv.new_empty(batch, length, heads * geometry.width)
    log_totals = qkv.new_empty(batch, heads, length, dtype=torch.float32)
    blocks = forward_blocks(is_narrow=qkv.element_size() == 2)
    parts = geometry.parts(_rows(qkv))
    _launch(
        attention_forward, -(-length // blocks.queries) * batch * heads,
        *parts, cos.contiguous(), sin.contiguous(), out, log_totals,
        *_strides(*parts), length, geometry.width**-0.5 * LOG2_E,
        **geometry.constants(qkv, blocks),
    )  # fmt: skip
    return out, log_totals


def run_backward(
    d_out: Tensor,
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    out: Tensor,
    log_totals: Tensor,
    *,
    heads: int,
    key_heads: int,
    rotation: int,
) -> Tensor:
    """Return the gradient of `qkv`, contiguous."""
    batch, length, _ = qkv.shape
    geometry = _geometry(qkv, heads, key_heads, rotation)
    d_out, log_totals = _rows(d_out), log_totals.contiguous()
    q, k, v = geometry.parts(_rows(qkv))
    d_qkv = torch.empty(qkv.shape, dtype=qkv.dtype, device=qkv.device)
    dq, dk, dv = geometry.parts(d_qkv)
    tables, deltas = (cos.contiguous(), sin.contiguous()), torch.empty_like(log_totals)
    scale = geometry.width**-0.5
    rows, columns = backward_blocks(geometry.width, is_narrow=qkv.element_size() == 2)
    _launch(
        attention_backward_queries, -(-length // rows.queries) * batch * heads,
        q, k, v, *tables, out.contiguous(), d_out, log_totals, deltas, dq,
        *_strides(q, k, v, d_out, dq), length, scale, scale * LOG2_E,
        **geometry.constants(qkv, rows),
    )  # fmt: skip
    _launch(
        attention_backward_keys, -(-length // columns.keys) * batch * key_heads,
        q, k, v, *tables, d_out, log_totals, deltas, dk, dv,
        *_strides(q, k, v, d_out, dk, dv), length, scale, scale * LOG2_E,
        **geometry.constants(qkv, columns),
    )  # fmt: skip
    return d_qkv


def _geometry(qkv: Tensor, heads: int, key_heads: int, rotation: int) -> Geometry:
    return Geometry(heads, key_heads, qkv.shape[-1] // (heads + 2 * key_heads), rotation)


def _rows(x: Tensor) -> Tensor:
    """Return `x` with its last axis contiguous; the kernels take any other strides."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _launch(kernel: Any, programs: int, first: Tensor, *others: object, **constants: Any) -> None:
    """Run a kernel on one long axis of programs: the other axes hold 65,535 at most."""
    with torch.cuda.device_of(first):  # Triton launches on the current device
        kernel[(programs,)](first, *others, **constants)


def _strides(*tensors: Tensor) -> list[int]:
    """Return the strides of batch and position of each."""
    return [stride for tensor in tensors for stride in tensor.stride()[:2]]
