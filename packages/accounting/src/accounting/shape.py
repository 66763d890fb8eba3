"""Describe a model by the sizes and switches that its cost depends on, without torch.

Stage: *shape* -> every account. Not here: where a shape comes from (`sources`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from accounting.step import check_fields


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedForwardKind:
    """What one kind of feed-forward layer takes."""

    is_gated: bool
    """Whether a third matrix makes what the activation multiplies."""
    kept: int = 1
    """Tensors that the activation keeps for the backward pass, beside its input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NormKind:
    """Where one wiring of the residual stream x and a sublayer f has norms."""

    before: bool = False
    """f(norm(x))"""
    inside: bool = False
    """x + norm(f(x))"""
    after: bool = False
    """norm(x + f(x))"""
    final: bool = False
    """Once more before the head."""

    @property
    def per_block(self) -> int:
        """Norms of a block, which has two sublayers."""
        return 2 * (self.before + self.inside + self.after)


FEED_FORWARDS = {
    "swiglu": FeedForwardKind(is_gated=True),
    "silu": FeedForwardKind(is_gated=False),
    "gelu": FeedForwardKind(is_gated=False),
}
NORMS = {
    "pre": NormKind(before=True, final=True),
    "post": NormKind(after=True),
    "none": NormKind(),
}
if TYPE_CHECKING:
    FeedForward = Norm = str
else:
    FeedForward, Norm = Literal[tuple(FEED_FORWARDS)], Literal[tuple(NORMS)]
AttentionBias = Literal["none", "qkv", "all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """The sizes of a decoder-only Transformer language model.

    The defaults are those of `nn_layers.ModelConfig`. The fields from `sliding_window` on exist to
    count published models, which are built differently.

    Raises:
        ValueError: a size below 1, heads that do not divide, an unknown switch.
    """

    vocab_size: int
    """Token ids."""
    context_length: int
    """Tokens per sequence."""
    d_model: int
    """Width of the residual stream."""
    num_layers: int
    """Transformer blocks."""
    num_heads: int
    """Query heads; divides d_model unless head_width is given."""
    d_ff: int
    """Width inside the feed-forward layer."""
    num_kv_heads: int | None = None
    """Key and value heads; None: as many as query heads."""
    feed_forward: FeedForward = "swiglu"
    """One of `FEED_FORWARDS`."""
    norm: Norm = "pre"
    """One of `NORMS`."""
    position: Literal["rope", "none", "learned"] = "rope"
    """Rotations (no parameters), none, or a matrix of context_length by d_model."""
    rope_layout: Literal["adjacent", "half"] = "adjacent"
    """Which dimensions rotate together; affects only memory."""
    qk_norm: bool = False
    """RMSNorm on queries and keys, over the head width."""
    tie_embeddings: bool = False
    """One matrix for embedding and head."""
    sliding_window: int | None = None
    """Maximum number of tokens that a query sees; None: all before it."""
    head_width: int | None = None
    """Width of a head where it is not d_model / num_heads."""
    attention_bias: AttentionBias = "none"
    """Biases of the projections; "all": of the output as well."""
    feed_forward_bias: bool = False
    """Biases of the feed-forward layer."""
    norm_bias: bool = False
    """LayerNorm: norms have a bias besides their gain."""

    def __post_init__(self) -> None:
        """Refuse impossible shapes."""
        check_fields(self)
        if self.head_width is None and self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} must divide d_model={self.d_model}")
        if self.num_heads % self.kv_heads:
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} must divide num_heads={self.num_heads}"
            )
        if self.position == "rope" and self.d_head % 2:
            raise ValueError(
                f"rotations turn pairs, but a head is {self.d_head} wide; make d_model / num_heads "
                "even, or position 'none'"
            )

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.head_width or self.d_model // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Key and value heads."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def d_q(self) -> int:
        """Width of all queries; d_model unless head_width is set."""
        return self.num_heads * self.d_head

    @property
    def d_kv(self) -> int:
        """Width of all keys, or of all values."""
        return self.kv_heads * self.d_head

    @property
    def feed_forward_matrices(self) -> int:
        """Matrices of d_model by d_ff in one feed-forward layer."""
        return 3 if FEED_FORWARDS[self.feed_forward].is_gated else 2

    def scores(self, num_tokens: int, *, causal: bool) -> float:
        """Return how many pairs of query and key one head scores in a sequence.

        Args:
            num_tokens: length of the sequence.
            causal: count the half that is not masked, window included; else every pair.

        >>> shape = ModelShape(vocab_size=9, context_length=8, d_model=4, num_layers=1,
        ...                    num_heads=1, d_ff=4, sliding_window=2)
        >>> shape.scores(8, causal=False), shape.scores(8, causal=True)
        (64, 14.0)
        """
        if not causal:
            return num_tokens**2
        window = min(self.sliding_window or num_tokens, num_tokens)
        return window * num_tokens - window**2 / 2
