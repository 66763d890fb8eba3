"""Let each position read from earlier ones: the formula, and the multi-head layer around it.

Stage: residual stream -> *attention* -> residual stream. The plain formula is here to be read and
to hold torch's fused kernel to account; both give the same result.
"""

import math
from typing import Literal, get_args

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as fused_attention

from nn_layers.activations import softmax
from nn_layers.attention_kernel import kernel_of, rotary_attention
from nn_layers.causal_products import causal_attention_by_products
from nn_layers.kv_cache import KVCache
from nn_layers.linear import Linear
from nn_layers.rms_norm import RMSNorm
from nn_layers.rope import RotaryPositionalEmbedding
from nn_layers.state_dict import split_stacked

AttentionPath = Literal["auto", "plain", "fused", "matmul", "native", "triton"]
"""plain: the written-out formula. fused: torch's kernel. matmul: batched products, a block of rows
at a time. native, triton: an own kernel, rotation inside, for a CPU with AVX-512 and a C++ compiler
or for CUDA; where a cache is extended, matmul or fused. auto: matmul on the CPU, elsewhere fused:
nothing that is built first."""


def scaled_dot_product_attention(
    q: Float[Tensor, "... t k"],
    k: Float[Tensor, "... s k"],
    v: Float[Tensor, "... s w"],
    mask: Bool[Tensor, "... t s"] | None = None,
) -> Float[Tensor, "... t w"]:
    """Return softmax(q k^T / sqrt(d_k)) v.

    Args:
        q: (..., t, k) queries.
        k: (..., s, k) keys.
        v: (..., s, w) values.
        mask: (..., t, s); True where a query may look. A query that may look nowhere gets zeros.

    Returns:
        (..., t, w) in the type of `v`.

    Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 1.
    """
    scores = einsum(q, k, "... t k, ... s k -> ... t s") / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = softmax(scores, dim=-1).to(v.dtype)
    return einsum(weights, v, "... t s, ... s w -> ... t w")


class MultiHeadSelfAttention(nn.Module):
    """Causal self-attention in several heads, with optional grouped keys and values.

    Args:
        d_model: width of input and output.
        num_heads: query heads; divides d_model.
        num_kv_heads: key and value heads, each read by num_heads / num_kv_heads query heads; None:
            as many as query heads.
        rope: rotates queries and keys; None: no positions.
        qk_norm: RMSNorm on queries and keys, before the rotation.
        attention: how to compute it, never what; see `AttentionPath`.
        device: where the weights live.
        dtype: of the weights.

    Raises:
        ValueError: heads that do not divide.

    Source: Vaswani et al. 2017, section 3.2.2; Ainslie et al. 2023 (grouped queries),
    arXiv:2305.13245.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        rope: RotaryPositionalEmbedding | None = None,
        qk_norm: bool = False,
        attention: AttentionPath = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        has_heads = num_heads > 0 and self.num_kv_heads > 0
        if not has_heads or d_model % num_heads or num_heads % self.num_kv_heads:
            raise ValueError(
                f"{num_heads} heads over {self.num_kv_heads} key heads do not divide "
                f"d_model={d_model}; num_heads must divide d_model, num_kv_heads num_heads"
            )
        if attention not in get_args(AttentionPath):
            choices = ", ".join(map(repr, get_args(AttentionPath)))
            raise ValueError(f"attention is {attention!r}, but must be one of {choices}")
        d_head = d_model // num_heads
        d_kv = self.num_kv_heads * d_head
        self.attention = attention
        self.d_head = d_head
        self.q_proj = Linear(d_model, d_model, device=device, dtype=dtype)
        self.k_proj = Linear(d_model, d_kv, device=device, dtype=dtype)
        self.v_proj = Linear(d_model, d_kv, device=device, dtype=dtype)
        self.output_proj = Linear(d_model, d_model, device=device, dtype=dtype)
        self.q_norm = RMSNorm(d_head, device=device, dtype=dtype) if qk_norm else None
        self.k_norm = RMSNorm(d_head, device=device, dtype=dtype) if qk_norm else None
        # One table serves all layers of a model: it has no weights, so no layer owns it.
        self.rope = rope

    def forward(
        self,
        x: Float[Tensor, "... t d"],
        token_positions: Int[Tensor, "... t"] | None = None,
        *,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Float[Tensor, "... t d"]:
        """Attend from each position to itself and all before it.

        Args:
            x: (..., t, d).
            token_positions: (..., t) or (t,) for the rotation; None: counted from what the cache
                holds.
            cache: earlier keys and values, extended in place; then `x` is (b, t, d).
            layer: whose part of the cache.

        Returns:
            (..., t, d).
        """
        if self.attention in ("native", "triton") and cache is None and token_positions is None:
            return self.output_proj(self._heads_by_kernel(x))
        past = 0 if cache is None else cache.length
        if token_positions is None:
            seen = past + x.shape[-2]
            token_positions = torch.arange(past, seen, dtype=torch.int64, device=x.device)
        # Without a compiler the copies that stacking makes cost what it saves.
        is_stacked = torch.compiler.is_compiling() and cache is None
        project = self._project_at_once if is_stacked else self._project
        q, k, v = project(x, token_positions.unsqueeze(-2))  # the same for every head
        if cache is not None:
            k, v = cache.append(layer, k, v)
        group = self.num_heads // self.num_kv_heads
        if group > 1:
            k = repeat(k, "... h s k -> ... (h g) s k", g=group)
            v = repeat(v, "... h s k -> ... (h g) s k", g=group)
        heads = self._attend(q, k, v, past=past)
        return self.output_proj(rearrange(heads, "... h t k -> ... t (h k)"))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """Load `qkv_proj`, where the projections are stacked in one, as well as the three."""
        parts = {"q_proj": self.q_proj, "k_proj": self.k_proj, "v_proj": self.v_proj}
        split_stacked(state_dict, prefix, "qkv_proj", parts)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _project(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated queries and keys, and values; (..., h, t, k)."""
        q = rearrange(self.q_proj(x), "... t (h k) -> ... h t k", h=self.num_heads)
        k = rearrange(self.k_proj(x), "... t (h k) -> ... h t k", h=self.num_kv_heads)
        v = rearrange(self.v_proj(x), "... t (h k) -> ... h t k", h=self.num_kv_heads)
        q, k = self._normalise(q, k)
        if self.rope is not None:
            q, k = self.rope(q, positions), self.rope(k, positions)
        return q, k, v

    def _project_at_once(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Do what `_project` does with one product, for compiled training.

        Scores don't depend on the order of a head's dimensions, so weights of adjacent pairs are
        brought into halves, which vector units turn faster than neighbours.
        """
        rope, weights = self.rope, [self.q_proj.weight, self.k_proj.weight, self.v_proj.weight]
        if rope is not None and rope.layout == "adjacent" and self.q_norm is None:
            half = "(h j r) d -> (h r j) d"
            weights[:2] = (rearrange(w, half, r=2, j=self.d_head // 2) for w in weights[:2])
            rotate = rope.rotate_halves
        else:
            rotate = rope
        stacked = (x @ torch.cat(weights).T).split([len(w) for w in weights], dim=-1)
        q, k, v = (rearrange(one, "... t (h k) -> ... h t k", k=self.d_head) for one in stacked)
        q, k = self._normalise(q, k)
        return (q, k, v) if rotate is None else (rotate(q, positions), rotate(k, positions), v)

    def _normalise(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        if self.q_norm is None or self.k_norm is None:
            return q, k
        return self.q_norm(q), self.k_norm(k)

    def _heads_by_kernel(self, x: Float[Tensor, "... t d"]) -> Float[Tensor, "... t c"]:
        """Project with one product, then rotate and attend in one kernel."""
        if self.attention != (kernel := kernel_of(x.device)):
            raise ValueError(
                f"attention is {self.attention}, but the kernel of {x.device} is {kernel}; use "
                "that, or another path"
            )
        projections = (self.q_proj.weight, self.k_proj.weight, self.v_proj.weight)
        qkv = x @ torch.cat(projections).T
        if self.q_norm is not None:
            heads = rearrange(qkv, "... (h k) -> ... h k", k=len(self.q_norm.weight))
            counts = [self.num_heads, self.num_kv_heads, self.num_kv_heads]
            q, k, v = heads.split(counts, dim=-2)
            qkv = torch.cat((*self._normalise(q, k), v), dim=-2).flatten(-2)
        return rotary_attention(
            qkv,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            tables=None if self.rope is None else self.rope.float32_tables(),
            layout="adjacent" if self.rope is None else self.rope.layout,
        )

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, *, past: int) -> Tensor:
        """Attend causally; only the square case, without a past, has fast paths of its own."""
        path = self.attention
        if path == "auto":
            path = "matmul" if q.device.type == "cpu" else "fused"
        if past == 0 and path in ("matmul", "native"):
            return causal_attention_by_products(q, k, v)
        if past == 0 and path in ("fused", "triton"):
            return fused_attention(q, k, v, is_causal=True)
        size = k.shape[-2]
        mask = torch.ones(size, size, dtype=torch.bool, device=q.device).tril()[past:]
        if path == "plain":
            return scaled_dot_product_attention(q, k, v, mask)
        return fused_attention(q, k, v, attn_mask=mask)
