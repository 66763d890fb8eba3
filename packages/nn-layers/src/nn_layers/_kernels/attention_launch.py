"""Launch the attention kernels: block sizes, grids and buffers.

Block sizes are written down, not searched for: a search at start-up would cost more than it gains
in a run of minutes. They fit into the shared memory and registers of one H100 multiprocessor, as
`tests/nn_layers/test_kernel_compilation.py` shows without one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nn_layers._kernels.attention_backward import (
    attention_backward_keys,
    attention_backward_queries,
)
from nn_layers._kernels.attention_forward import attention_forward

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
        return qkv.split(sizes, dim=-1)

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


def run_forward(qkv: Tensor, cos: Tensor, sin: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Return (b, t, h k) heads and (b, h, t) float32 log2 denominators."""
    batch, length, _ = qkv.shape
    out = qkv.new_empty(batch, length, geometry.heads * geometry.width)
    log_totals = qkv.new_empty(batch, geometry.heads, length, dtype=torch.float32)
    blocks = forward_blocks(is_narrow=qkv.element_size() == 2)
    attention_forward[_grid(length, blocks.queries, batch * geometry.heads)](
        *geometry.parts(qkv), cos, sin, out, log_totals,
        *_strides(*geometry.parts(qkv)), length, geometry.width**-0.5 * LOG2_E,
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
    geometry: Geometry,
) -> Tensor:
    """Return the gradient of `qkv`, contiguous."""
    batch, length, _ = qkv.shape
    q, k, v = geometry.parts(qkv)
    d_qkv = torch.empty(qkv.shape, dtype=qkv.dtype, device=qkv.device)
    dq, dk, dv = geometry.parts(d_qkv)
    deltas = torch.empty_like(log_totals)
    scale = geometry.width**-0.5
    rows, columns = backward_blocks(geometry.width, is_narrow=qkv.element_size() == 2)
    attention_backward_queries[_grid(length, rows.queries, batch * geometry.heads)](
        q, k, v, cos, sin, out, d_out, log_totals, deltas, dq,
        *_strides(q, k, v, d_out, dq), length, scale, scale * LOG2_E,
        **geometry.constants(qkv, rows),
    )  # fmt: skip
    attention_backward_keys[_grid(length, columns.keys, batch * geometry.key_heads)](
        q, k, v, cos, sin, d_out, log_totals, deltas, dk, dv,
        *_strides(q, k, v, d_out, dk, dv), length, scale, scale * LOG2_E,
        **geometry.constants(qkv, columns),
    )  # fmt: skip
    return d_qkv


def _grid(length: int, rows: int, heads: int) -> tuple[int]:
    """Return one long axis: the others hold 65,535 programs at most."""
    return (-(-length // rows) * heads,)


def _strides(*tensors: Tensor) -> list[int]:
    """Return the strides of batch and position of each."""
    return [stride for tensor in tensors for stride in tensor.stride()[:2]]
