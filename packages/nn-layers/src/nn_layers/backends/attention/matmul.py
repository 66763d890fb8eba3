"""Attend by batched matrix products, one block of rows at a time.

Stage: queries, keys, values -> *attention* -> heads. On a CPU, narrow heads and short windows make
these products faster than torch's fused kernel, above all backward. A block computes no scores
beyond its last row, so with n blocks only (n + 1) / 2n of the square is computed. Uncompiled,
backward recomputes the weights (Dao et al. 2022, arXiv:2205.14135, section 3.1): one more product,
and no square stays in memory. torch.compile receives the formula and fuses what lies around the
products: it keeps a square, and takes 0.6 of the time.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nn_layers.activations import softmax
from nn_layers.backends.attention import sdpa
from nn_layers.backends.interface import Setting
from nn_layers.backends.operands import check_operands
from nn_layers.precision import as_autocast_has_it, at_least_float32

ROWS_A_BLOCK = 128
_SQUARE_BYTES = 8 * 1024**2  # of the scores at hand; a few of them fit a CPU's last cache


class Backend(sdpa.Backend):
    """Products for whole windows; torch's kernel for what continues a cache."""

    keeps = "matmul"

    def rank(self, setting: Setting) -> int | None:
        """Come second on the CPU."""
        return 2 if setting.device.type == "cpu" else None

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, *, past: int, bias: Tensor | None = None
    ) -> Tensor:
        """Return the heads."""
        if past:
            return super().attend(q, k, v, past=past, bias=bias)
        return causal_attention_by_products(q, k, v)


def causal_attention_by_products(
    q: Float[Tensor, "... t k"], k: Float[Tensor, "... t k"], v: Float[Tensor, "... t w"]
) -> Float[Tensor, "... t w"]:
    """Return softmax(q k^T / sqrt(d_k)) v, where row i sees keys 0 .. i.

    Products and result have the type of `v`, or of autocast.

    Raises:
        ValueError: inputs on several devices.
        NotImplementedError: an input has a tangent, unless the call is compiled.

    >>> x = torch.eye(2)[None]
    >>> causal_attention_by_products(x, x, x)[0, 0]
    tensor([1., 0.])
    """
    if torch.compiler.is_compiling():
        return _attend_by_formula(q, k, v)
    check_operands("attention by products", q, k, v, plain="attention='plain'")
    flat = (as_autocast_has_it(one).reshape(-1, *one.shape[-2:]) for one in (q, k, v))
    return _attend(*flat).reshape(v.shape)


def _attend_by_formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend in operations that torch.compile can fuse."""
    length, blocks = q.shape[-2], []
    for first in range(0, length, ROWS_A_BLOCK):
        last = min(first + ROWS_A_BLOCK, length)
        bias = torch.full((last - first, last), -torch.inf, dtype=q.dtype, device=q.device)
        scores = _scaled(q[..., first:last, :]) @ k[..., :last, :].mT
        weights = softmax(scores + bias.triu(first + 1), dim=-1).to(v.dtype)
        blocks.append(weights @ v[..., :last, :])
    return torch.cat(blocks, dim=-2)


@torch.library.custom_op("nn_layers::causal_attention", mutates_args=())
def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend; the heads of all windows lie along the first axis."""
    heads, scaled, hidden = torch.empty_like(v), _scaled(q), _hidden(q)
    with torch.autocast(q.device.type, enabled=False):
        for some, rows, seen in _parts(q):
            weights = _weigh(scaled[some, rows] @ k[some, seen].mT, hidden)
            heads[some, rows] = weights @ v[some, seen]
    return heads


@torch.library.custom_op("nn_layers::causal_attention_backward", mutates_args=())
def _attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values.

    With P the weights, S the scores and O = P V: dV = P^T dO; dP = dO V^T;
    dS = P (dP - sum(P dP)), row by row; dQ = dS K and dK = dS^T Q, scaled.
    """
    grad_q, grad_k, grad_v = (torch.zeros_like(one) for one in (q, k, v))
    scaled, hidden = _scaled(q), _hidden(q)
    with torch.autocast(q.device.type, enabled=False):
        for some, rows, seen in _parts(q):
            queries, keys, heads = scaled[some, rows], k[some, seen], grad[some, rows]
            weights = _weigh(queries @ keys.mT, hidden)
            grad_v[some, seen] += weights.mT @ heads
            scores = _weigh_backward(weights, heads @ v[some, seen].mT)
            grad_k[some, seen] += scores.mT @ queries
            grad_q[some, rows] = scores @ keys
    return grad_q.div_(math.sqrt(q.shape[-1])), grad_k, grad_v


def _scaled(q: Tensor) -> Tensor:
    return q / math.sqrt(q.shape[-1])


def _hidden(q: Tensor) -> Tensor:
    """Return the bias of a block's scores with its own keys: -inf at later ones."""
    rows = min(ROWS_A_BLOCK, q.shape[-2])
    return torch.full((rows, rows), -torch.inf, dtype=q.dtype, device=q.device).triu_(1)


def _weigh(scores: Tensor, hidden: Tensor) -> Tensor:
    """Replace the scores of a block by their softmax; its own keys are the last columns."""
    rows = scores.shape[-2]
    wide = at_least_float32(scores)
    wide[..., -rows:] += hidden[:rows, :rows]
    powers = wide.sub_(wide.amax(dim=-1, keepdim=True)).exp_()
    return powers.div_(powers.sum(dim=-1, keepdim=True)).to(scores.dtype)


def _weigh_backward(weights: Tensor, grad: Tensor) -> Tensor:
    """Replace the gradient of the weights by that of the scores."""
    wide = at_least_float32(weights)
    product = at_least_float32(grad).mul_(wide)
    total = product.sum(dim=-1, keepdim=True)
    return product.addcmul_(wide, total, value=-1).to(weights.dtype)


def _parts(q: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Yield heads, rows and the keys that these see, in portions that a cache can hold."""
    num_heads, length, _ = q.shape
    portion = max(1, _SQUARE_BYTES // (min(ROWS_A_BLOCK, length) * length * q.element_size()))
    for head in range(0, num_heads, portion):
        for row in range(0, length, ROWS_A_BLOCK):
            last = min(row + ROWS_A_BLOCK, length)
            yield slice(head, head + portion), slice(row, last), slice(last)


@_attend.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.empty_like(v)


@_attend_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _attend_backward(grad, *ctx.saved_tensors)


_attend.register_autograd(_differentiate, setup_context=_save)
