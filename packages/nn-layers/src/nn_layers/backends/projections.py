"""Project to queries, keys and values by one product instead of three.

Stage: layer's input -> *queries, keys, values* -> heads. For compiled training, and for kernels
that take all three side by side. The plain twin is in `MultiHeadSelfAttention`.
"""

from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from nn_layers.linear import Linear
from nn_layers.positions import Positions, RotaryPositionalEmbedding
from nn_layers.rms_norm import RMSNorm


@runtime_checkable
class Projections(Protocol):
    """The part of `MultiHeadSelfAttention` that comes before its heads."""

    q_proj: Linear
    k_proj: Linear
    v_proj: Linear
    q_norm: RMSNorm | nn.Identity
    k_norm: RMSNorm | nn.Identity
    num_heads: int
    num_kv_heads: int
    d_head: int
    positions: Positions


def project_at_once(
    layer: Projections, x: Float[Tensor, "... t d"], token_positions: Int[Tensor, "..."]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rotated queries and keys, and values; (..., h, t, k).

    Scores don't depend on the order of a head's dimensions, so adjacent pairs are rearranged into
    halves, which vector units rotate faster.
    """
    positions, weights = layer.positions, _weights(layer)
    rotate = positions.rotate
    is_rotary = isinstance(positions, RotaryPositionalEmbedding)
    if is_rotary and positions.layout == "adjacent" and not _has_norms(layer):
        half = "(h j r) d -> (h r j) d"
        weights[:2] = (rearrange(w, half, r=2, j=layer.d_head // 2) for w in weights[:2])
        rotate = positions.rotate_halves
    stacked = (x @ torch.cat(weights).T).split([len(w) for w in weights], dim=-1)
    q, k, v = (rearrange(one, "... t (h k) -> ... h t k", k=layer.d_head) for one in stacked)
    q, k = layer.q_norm(q), layer.k_norm(k)
    return rotate(q, token_positions), rotate(k, token_positions), v


def stack_projections(layer: Projections, x: Float[Tensor, "... t d"]) -> Float[Tensor, "... t n"]:
    """Return queries, keys and values side by side, unrotated; n = (h + 2 g) k."""
    qkv = x @ torch.cat(_weights(layer)).T
    if not _has_norms(layer):
        return qkv
    counts = [layer.num_heads, layer.num_kv_heads, layer.num_kv_heads]
    heads = rearrange(qkv, "... (h k) -> ... h k", k=layer.d_head)
    q, k, v = heads.split(counts, dim=-2)
    return torch.cat((layer.q_norm(q), layer.k_norm(k), v), dim=-2).flatten(-2)


def _weights(layer: Projections) -> list[Tensor]:
    return [layer.q_proj.weight, layer.k_proj.weight, layer.v_proj.weight]


def _has_norms(layer: Projections) -> bool:
    return isinstance(layer.q_norm, RMSNorm)
