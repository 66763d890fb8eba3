"""Say what a model costs depends on: its sizes and switches, without torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """The sizes of a decoder-only Transformer language model.

    Raises:
        ValueError: a size below 1, heads that do not divide, an unknown switch.
    """

    vocab_size: int
    """Token ids."""
    context_length: int
    """Positions a sequence; tokens."""
    d_model: int
    """Width of the residual stream."""
    num_layers: int
    """Transformer blocks."""
    num_heads: int
    """Query heads; divides d_model."""
    d_ff: int
    """Width inside the feed-forward layer."""
    num_kv_heads: int | None = None
    """Key and value heads; None: as many as query heads."""
    feed_forward: Literal["swiglu", "silu"] = "swiglu"
    """Three matrices, or two."""
    norm: Literal["pre", "post", "none"] = "pre"
    """Where the RMSNorms stand; "post" has no final one, "none" none at all."""
    qk_norm: bool = False
    """RMSNorm on queries and keys, over the head width."""
    tie_embeddings: bool = False
    """One matrix for embedding and head."""

    def __post_init__(self) -> None:
        """Refuse impossible shapes."""
        sizes = ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff")
        for name in sizes:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} is {value!r}, but must be a positive integer")
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} must divide d_model={self.d_model}")
        kv_heads = self.kv_heads
        if type(kv_heads) is not int or kv_heads < 1 or self.num_heads % kv_heads:
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} must divide num_heads={self.num_heads}"
            )
        if self.feed_forward not in ("swiglu", "silu"):
            raise ValueError(f"feed_forward is {self.feed_forward!r}, not 'swiglu' or 'silu'")
        if self.norm not in ("pre", "post", "none"):
            raise ValueError(f"norm is {self.norm!r}, not 'pre', 'post' or 'none'")

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Key and value heads."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def d_kv(self) -> int:
        """Width of all keys, or of all values."""
        return self.kv_heads * self.d_head

    @property
    def feed_forward_matrices(self) -> int:
        """Matrices of d_model by d_ff in one feed-forward layer."""
        return 3 if self.feed_forward == "swiglu" else 2
