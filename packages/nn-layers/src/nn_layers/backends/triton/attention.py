"""Launch the attention kernels: block sizes, grids and buffers.

Block sizes are fixed: a search at start-up would cost more than it gains in a run of minutes. They
fit into the shared memory and registers of one H100 multiprocessor, as
`tests/nn_layers/test_kernel_compilation.py` shows without one.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nn_layers.backends.triton.attention_backward import (
    attention_backward_keys,
    attention_backward_queries,
)
from nn_layers.backends.triton.attention_forward import attention_forward

LOG2_E = 1.4426950408889634


class Blocks(NamedTuple):
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


class _Geometry:
    """Heads and rotation of fused queries, keys and values, (b, t, (h + 2 g) k)."""

    def __init__(self, qkv: Tensor, heads: int, key_heads: int, rotation: int) -> None:
        self.batch, self.length, columns = qkv.shape
        self.heads, self.key_heads, self.rotation = heads, key_heads, rotation
        self.width = columns // (heads + 2 * key_heads)
        self.scale = self.width**-0.5
        self.is_narrow = qkv.element_size() == 2
        self._precision = "ieee" if qkv.dtype == torch.float32 else "tf32"

    def parts(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return views of the queries, keys and values."""
        sizes = [self.heads * self.width, *2 * [self.key_heads * self.width]]
        q, k, v = qkv.split(sizes, dim=-1)
        return q, k, v

    def constants(self, blocks: Blocks) -> dict[str, Any]:
        """Return the compile-time arguments of a kernel."""
        return {
            "HEADS": self.heads,
            "GROUP": self.heads // self.key_heads,
            "WIDTH": self.width,
            "ROTATION": self.rotation,
            "QUERIES": blocks.queries,
            "KEYS": blocks.keys,
            "PRECISION": self._precision,
            "num_warps": blocks.warps,
            "num_stages": blocks.stages,
        }


def run_forward(
    qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, key_heads: int, rotation: int
) -> tuple[Tensor, Tensor]:
    """Return (b, t, h k) heads and (b, h, t) float32 log2 denominators."""
    g = _Geometry(qkv, heads, key_heads, rotation)
    out = qkv.new_empty(g.batch, g.length, heads * g.width)
    log_totals = qkv.new_empty(g.batch, heads, g.length, dtype=torch.float32)
    blocks = forward_blocks(is_narrow=g.is_narrow)
    parts = g.parts(_rows(qkv))
    _launch(
        attention_forward, -(-g.length // blocks.queries) * g.batch * heads,
        *parts, cos.contiguous(), sin.contiguous(), out, log_totals,
        *_strides(*parts), g.length, g.scale * LOG2_E, **g.constants(blocks),
    )  # fmt: skip
    return out, log_totals


def run_backward(
    d_out: Tensor,
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    out: Tensor,
    log_totals: Tensor,
    heads: int,
    key_heads: int,
    rotation: int,
) -> Tensor:
    """Return the gradient of `qkv`, contiguous."""
    g = _Geometry(qkv, heads, key_heads, rotation)
    d_out, log_totals = _rows(d_out), log_totals.contiguous()
    q, k, v = g.parts(_rows(qkv))
    d_qkv = torch.empty(qkv.shape, dtype=qkv.dtype, device=qkv.device)
    dq, dk, dv = g.parts(d_qkv)
    tables, deltas = (cos.contiguous(), sin.contiguous()), torch.empty_like(log_totals)
    scales = (g.scale, g.scale * LOG2_E)
    rows, columns = backward_blocks(g.width, is_narrow=g.is_narrow)
    _launch(
        attention_backward_queries, -(-g.length // rows.queries) * g.batch * heads,
        q, k, v, *tables, out.contiguous(), d_out, log_totals, deltas, dq,
        *_strides(q, k, v, d_out, dq), g.length, *scales, **g.constants(rows),
    )  # fmt: skip
    _launch(
        attention_backward_keys, -(-g.length // columns.keys) * g.batch * key_heads,
        q, k, v, *tables, d_out, log_totals, deltas, dk, dv,
        *_strides(q, k, v, d_out, dk, dv), g.length, *scales, **g.constants(columns),
    )  # fmt: skip
    return d_qkv


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
