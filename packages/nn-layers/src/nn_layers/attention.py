"""Let each position read from earlier ones: the formula, and the multi-head layer around it.

Stage: residual stream -> *attention* -> residual stream. Not here: faster ways (`backends`).
"""

import math
from functools import partial

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nn_layers.activations import softmax
from nn_layers.backends.layer import BackedAttention
from nn_layers.config import check_heads
from nn_layers.initialization import Device, DType
from nn_layers.kv_cache import KVCache
from nn_layers.linear import Linear
from nn_layers.positions import NoPositions, Positions
from nn_layers.rms_norm import RMSNorm
from nn_layers.state_dict import accept_stacked


def scaled_dot_product_attention(
    q: Float[Tensor, "... t k"],
    k: Float[Tensor, "... s k"],
    v: Float[Tensor, "... s w"],
    mask: Bool[Tensor, "... t s"] | None = None,
    bias: Float[Tensor, "... t s"] | None = None,
) -> Float[Tensor, "... t w"]:
    """Return softmax(q k^T / sqrt(d_k) + bias) v, in the type of `v`.

    A query sees the keys where `mask` is True, and gets zeros if it sees none; `bias` is what a
    position scheme adds to the scores. Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 1.
    """
    scores = einsum(q, k, "... t k, ... s k -> ... t s") / math.sqrt(q.shape[-1])
    scores = scores if bias is None else scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = softmax(scores, dim=-1).to(v.dtype)
    return einsum(weights, v, "... t s, ... s w -> ... t w")


class MultiHeadSelfAttention(BackedAttention):
    """Causal self-attention in several heads, with optional grouped keys and values.

    Args:
        d_model: width of input and output.
        num_heads: query heads; divides d_model.
        num_kv_heads: key and value heads, a divisor of num_heads; None: as many as query heads.
        rope: the position scheme, rotary or another; None: no positions.
        qk_norm: RMSNorm on queries and keys, before the rotation.
        attention: how to compute it, never what: a backend's name, or auto.

    Source: Vaswani et al. 2017, section 3.2.2; Ainslie et al. 2023, arXiv:2305.13245 (groups).
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        rope: Positions | None = None,
        qk_norm: bool = False,
        attention: str = "auto",
        device: Device = None,
        dtype: DType = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_heads(d_model, num_heads, self.num_kv_heads)
        self.d_head, linear = d_model // num_heads, partial(Linear, device=device, dtype=dtype)
        norm = partial(RMSNorm, device=device, dtype=dtype) if qk_norm else nn.Identity
        self.q_proj = linear(d_model, d_model)
        self.k_proj = linear(d_model, self.num_kv_heads * self.d_head)
        self.v_proj = linear(d_model, self.num_kv_heads * self.d_head)
        self.output_proj = linear(d_model, d_model)
        self.q_norm, self.k_norm = norm(self.d_head), norm(self.d_head)
        self.positions = NoPositions() if rope is None else rope  # shared by all layers of a model
        self.attention = attention
        accept_stacked(self, "qkv_proj", ("q_proj", "k_proj", "v_proj"))

    def forward(
        self,
        x: Float[Tensor, "... t d"],
        token_positions: Int[Tensor, "... t"] | None = None,
        *,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Float[Tensor, "... t d"]:
        """Attend from each position to itself and all before it.

        A cache extends the keys and values of `layer`; positions are counted from what it holds.
        """
        is_whole = cache is None and token_positions is None
        if is_whole and (heads := self.backend.attend_layer(self, x)) is not None:
            return self.output_proj(heads)
        past = 0 if cache is None else cache.length
        if token_positions is None:
            seen = past + x.shape[-2]
            token_positions = torch.arange(past, seen, dtype=torch.int64, device=x.device)
        project = self.projection(is_cached=cache is not None)
        q, k, v = project(x, token_positions.unsqueeze(-2))  # the same for every head
        if cache is not None:
            k, v = cache.append(layer, k, v)
        if (group := self.num_heads // self.num_kv_heads) > 1:
            k, v = (repeat(one, "... h s k -> ... (h g) s k", g=group) for one in (k, v))
        bias = self.positions.bias(token_positions, past=past, num_heads=self.num_heads)
        heads = self.backend.attend(q, k, v, past=past, bias=bias)
        return self.output_proj(rearrange(heads, "... h t k -> ... t (h k)"))

    def project(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries and keys with their positions, and values; (..., h, t, k)."""
        heads, projections = "... t (h k) -> ... h t k", (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (rearrange(one(x), heads, k=self.d_head) for one in projections)
        q, k = self.q_norm(q), self.k_norm(k)
        return self.positions.rotate(q, positions), self.positions.rotate(k, positions), v
