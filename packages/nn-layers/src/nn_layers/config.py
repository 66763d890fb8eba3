"""Describe one model: its sizes and every architecture switch, ablations included.

Stage: configuration -> *model*. Impossible shapes are refused here, before a tensor is made.
"""

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from nn_layers.backends.registry import class_names, require_known

if TYPE_CHECKING:
    Position = FeedForward = Norm = str
else:
    Position = Literal[class_names("positions")]
    FeedForward = Literal[class_names("feed_forward")]
    Norm = Literal[class_names("block")]


@dataclass(frozen=True)
class Architecture:
    """All of a `TransformerLM` except its vocabulary.

    Raises:
        ValueError: a size below 1, heads that do not divide, an unknown switch.
    """

    context_length: int
    """Most positions the model sees at once; tokens."""
    d_model: int
    """Width of the residual stream."""
    num_layers: int
    """Transformer blocks."""
    num_heads: int
    """Query heads; divides d_model."""
    d_ff: int
    """Width inside the feed-forward layer."""
    num_kv_heads: int | None = None
    """Key and value heads (grouped-query attention); None: as many as query heads."""
    rope_theta: float = 10000.0
    """Base of the rotary wavelengths."""
    position: Position = "rope"
    """Position scheme (`nn_layers.positions`): rotary positions, or none at all (NoPE)."""
    rope_layout: Literal["adjacent", "half"] = "adjacent"
    """Which dimensions rotate together: neighbours (RoFormer) or halves (Llama)."""
    norm: Norm = "pre"
    """RMSNorm before each sublayer, after each residual sum, or nowhere."""
    feed_forward: FeedForward = "swiglu"
    """Gated SwiGLU (three matrices) or plain SiLU (two)."""
    qk_norm: bool = False
    """RMSNorm on queries and keys, head by head."""
    tie_embeddings: bool = False
    """One matrix for the token embedding and the output head."""
    attention: str = "auto"
    """How attention is computed, never what: a backend's name; auto: the fastest available."""

    def __post_init__(self) -> None:
        """Check sizes, divisibility and switches."""
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.type is int and (type(value) is not int or value < 1):
                raise ValueError(f"{spec.name} is {value!r}, but must be a positive integer")
            if spec.type is bool and type(value) is not bool:
                raise ValueError(f"{spec.name} is {value!r}, but must be True or False")
            if get_origin(spec.type) is Literal and value not in get_args(spec.type):
                choices = ", ".join(map(repr, get_args(spec.type)))
                raise ValueError(f"{spec.name} is {value!r}, but must be one of {choices}")
        require_known("attention", self.attention, option="attention")
        check_heads(self.d_model, self.num_heads, self.kv_heads)
        if self.position == "rope" and self.d_head % 2:
            raise ValueError(
                f"rotary positions turn pairs, but the head width d_model / num_heads is "
                f"{self.d_head}; make it even or use position='none'"
            )
        if not 0 < self.rope_theta < math.inf:
            raise ValueError(f"rope_theta is {self.rope_theta}, but must be positive")

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Key and value heads, grouped or not."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads


@dataclass(frozen=True)
class _Vocabulary:
    vocab_size: int
    """Token ids are 0 .. vocab_size - 1."""


@dataclass(frozen=True)
class ModelConfig(Architecture, _Vocabulary):
    """The shape of a `TransformerLM`; `vocab_size` comes first.

    >>> ModelConfig(10_000, 256, 512, 4, 16, 1344).d_head
    32
    """


def check_heads(d_model: int, num_heads: int, num_kv_heads: int) -> None:
    """Insist on query heads that divide the width, and key heads that divide the query heads."""
    if num_heads < 1 or d_model % num_heads:
        raise ValueError(
            f"num_heads={num_heads} heads do not divide d_model={d_model}; choose a divisor"
        )
    if type(num_kv_heads) is not int or num_kv_heads < 1 or num_heads % num_kv_heads:
        raise ValueError(
            f"num_kv_heads={num_kv_heads} does not divide num_heads={num_heads}; choose a divisor"
        )
