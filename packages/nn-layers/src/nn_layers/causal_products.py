"""Compute causal attention by plain batched matrix products, a block of rows at a time.

Stage: queries, keys, values -> *attention* -> heads. On a CPU, narrow heads and short windows make
these products faster than torch's fused kernel, above all backward. Rows of a block look at no key
behind the block, so with n blocks only (n + 1) / 2n of the square is computed.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from nn_layers.activations import softmax

ROWS_A_BLOCK = 128


def causal_attention_by_products(
    q: Float[Tensor, "... t k"], k: Float[Tensor, "... t k"], v: Float[Tensor, "... t w"]
) -> Float[Tensor, "... t w"]:
    """Return softmax(q k^T / sqrt(d_k)) v, where row i sees keys 0 .. i.

    Args:
        q: (..., t, k) queries.
        k: (..., t, k) keys.
        v: (..., t, w) values.

    Returns:
        (..., t, w) in the type of `v`.

    >>> x = torch.eye(2)[None]
    >>> causal_attention_by_products(x, x, x)[0, 0]
    tensor([1., 0.])
    """
    length = q.shape[-2]
    blocks = [
        _attend_block(q[..., first:last, :], k[..., :last, :], v[..., :last, :])
        for first in range(0, length, ROWS_A_BLOCK)
        for last in [min(first + ROWS_A_BLOCK, length)]
    ]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-2)


def _attend_block(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend from the last rows of a window to all of it."""
    rows, columns = q.shape[-2], k.shape[-2]
    bias = torch.full((rows, columns), -torch.inf, dtype=q.dtype, device=q.device)
    bias = bias.triu(columns - rows + 1)
    scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
    return softmax(scores + bias, dim=-1).to(v.dtype) @ v
