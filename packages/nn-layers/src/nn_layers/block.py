"""Join attention and feed-forward to one Transformer block, each added to the residual stream.

Stage: residual stream -> *block* -> residual stream. A wiring is a class with a `name`, which is
`ModelConfig.norm`'s value.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Unpack, overload

from jaxtyping import Float, Int
from torch import Tensor, nn

from nn_layers.attention import MultiHeadSelfAttention
from nn_layers.config import ModelConfig
from nn_layers.feed_forward import find_feed_forward
from nn_layers.initialization import Place
from nn_layers.kv_cache import KVCache
from nn_layers.positions import Positions, build_positions
from nn_layers.rms_norm import RMSNorm

Layer = Callable[[Tensor], Tensor]


class Wiring(ABC):
    """How a sublayer joins the residual stream."""

    name: ClassVar[str]
    has_norms: ClassVar[bool] = True
    """Whether each sublayer has one; if not, `norm` is the identity."""
    has_final_norm: ClassVar[bool] = False
    """Whether the model has one before its head."""

    @staticmethod
    @abstractmethod
    def join(x: Tensor, sublayer: Layer, norm: Layer) -> Tensor:
        """Return the residual stream after a sublayer, (..., t, d)."""


class PreNorm(Wiring):
    """x + f(norm(x))."""

    name = "pre"
    has_final_norm = True

    @staticmethod
    def join(x: Tensor, sublayer: Layer, norm: Layer) -> Tensor:
        """Return the residual stream."""
        return x + sublayer(norm(x))


class PostNorm(Wiring):
    """norm(x + f(x)); a block ends with a norm, so the model needs no final one."""

    name = "post"

    @staticmethod
    def join(x: Tensor, sublayer: Layer, norm: Layer) -> Tensor:
        """Return the residual stream."""
        return norm(x + sublayer(x))


class NoNorm(Wiring):
    """x + f(x)."""

    name = "none"
    has_norms = False

    @staticmethod
    def join(x: Tensor, sublayer: Layer, norm: Layer) -> Tensor:
        """Return the residual stream."""
        return x + sublayer(x)


def find_wiring(name: str) -> type[Wiring]:
    """Return the class of a wiring.

    >>> find_wiring("pre").__name__
    'PreNorm'
    """
    return next(one for one in Wiring.__subclasses__() if one.name == name)


class TransformerBlock(nn.Module):
    """Attention and feed-forward with residual sums; `config.norm` places the norms.

    It is built from a configuration and the model's position scheme (None: one of its own), or from
    CS336's sizes: a pre-norm block with SwiGLU and rotary positions.

    Source: Xiong et al. 2020, arXiv:2002.04745, figure 1 (pre and post).

    >>> import torch
    >>> TransformerBlock(ModelConfig(10, 8, 16, 1, 2, 32))(torch.zeros(3, 8, 16)).shape
    torch.Size([3, 8, 16])
    >>> block = TransformerBlock(d_model=16, num_heads=2, d_ff=32, max_seq_len=8, theta=10_000.0)
    >>> block(torch.zeros(3, 8, 16)).shape
    torch.Size([3, 8, 16])
    """

    __call__: Callable[..., Tensor]

    @overload
    def __init__(
        self, config: ModelConfig, rope: Positions | None = None, **place: Unpack[Place]
    ) -> None: ...

    @overload
    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        max_seq_len: int,
        theta: float,
        **place: Unpack[Place],
    ) -> None: ...

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__()
        is_configured = "config" in named or isinstance(next(iter(arguments), None), ModelConfig)
        (self._build if is_configured else self._build_from_sizes)(*arguments, **named)

    def _build_from_sizes(
        self, d_model: int, num_heads: int, d_ff: int, max_seq_len: int, theta: float, **place: Any
    ) -> None:
        # A block has no vocabulary, and is one layer.
        config = ModelConfig(1, max_seq_len, d_model, 1, num_heads, d_ff, rope_theta=theta)
        self._build(config, **place)

    def _build(
        self, config: ModelConfig, rope: Positions | None = None, **place: Unpack[Place]
    ) -> None:
        self.wiring = find_wiring(config.norm)
        has_norms = self.wiring.has_norms
        self.ln1 = RMSNorm(config.d_model, **place) if has_norms else nn.Identity()
        self.attn = MultiHeadSelfAttention(
            config.d_model,
            config.num_heads,
            num_kv_heads=config.num_kv_heads,
            rope=build_positions(config, device=place.get("device")) if rope is None else rope,
            qk_norm=config.qk_norm,
            attention=config.attention,
            **place,
        )
        self.ln2 = RMSNorm(config.d_model, **place) if has_norms else nn.Identity()
        self.ffn = find_feed_forward(config.feed_forward)(config.d_model, config.d_ff, **place)

    _build.__qualname__ = _build_from_sizes.__qualname__ = "TransformerBlock"  # in TypeErrors

    def forward(
        self,
        x: Float[Tensor, "... t d"],
        token_positions: Int[Tensor, "... t"] | None = None,
        *,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Float[Tensor, "... t d"]:
        """Return (..., t, d); see `MultiHeadSelfAttention.forward` for the arguments."""

        def attend(x: Tensor) -> Tensor:
            return self.attn(x, token_positions, cache=cache, layer=layer)

        x = self.wiring.join(x, attend, self.ln1)
        return self.wiring.join(x, self.ffn, self.ln2)
