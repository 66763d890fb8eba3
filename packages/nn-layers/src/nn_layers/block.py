"""Join attention and feed-forward to one Transformer block, each added to the residual stream.

Stage: residual stream -> *block* -> residual stream. A wiring is a class with a `name`, which is
`ModelConfig.norm`'s value.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, overload

from jaxtyping import Float, Int
from torch import Tensor, nn

from nn_layers.attention import MultiHeadSelfAttention
from nn_layers.config import ModelConfig
from nn_layers.feed_forward import find_feed_forward
from nn_layers.initialization import Device, DType
from nn_layers.kv_cache import KVCache
from nn_layers.positions import Positions, build_positions
from nn_layers.rms_norm import RMSNorm

Layer = Callable[[Tensor], Tensor]


class Wiring:
    """How a sublayer joins the residual stream; the base of all ways."""

    name: ClassVar[str]
    has_norms: ClassVar[bool] = True
    """One for each sublayer; without, `norm` returns what it gets."""
    has_final_norm: ClassVar[bool] = False
    """Whether the model has one before its head."""

    @staticmethod
    def join(x: Tensor, sublayer: Layer, norm: Layer) -> Tensor:
        """Return the residual stream behind a sublayer, (..., t, d)."""
        raise NotImplementedError


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

    Args:
        config: the model's configuration.
        rope: the model's position scheme; None: one of its own, as the configuration has it.
        d_model, num_heads, d_ff: in the place of a configuration, the sizes of a pre-norm block
            with SwiGLU and rotary positions, as CS336 spells them ...
        max_seq_len: ... the most positions ...
        theta: ... and the base of the rotary wavelengths.

    Source: Xiong et al. 2020, arXiv:2002.04745, figure 1 (pre and post).

    >>> import torch
    >>> config = ModelConfig(10, 8, 16, 1, 2, 32)
    >>> TransformerBlock(config)(torch.zeros(3, 8, 16)).shape
    torch.Size([3, 8, 16])
    >>> block = TransformerBlock(d_model=16, num_heads=2, d_ff=32, max_seq_len=8, theta=10_000.0)
    >>> block(torch.zeros(3, 8, 16)).shape
    torch.Size([3, 8, 16])
    """

    __call__: Callable[..., Tensor]

    @overload
    def __init__(
        self,
        config: ModelConfig,
        rope: Positions | None = None,
        *,
        device: Device = None,
        dtype: DType = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        max_seq_len: int,
        theta: float,
        *,
        device: Device = None,
        dtype: DType = None,
    ) -> None: ...

    def __init__(
        self,
        *arguments: Any,
        device: Device = None,
        dtype: DType = None,
        **named: Any,
    ) -> None:
        super().__init__()
        is_configured = "config" in named or isinstance(next(iter(arguments), None), ModelConfig)
        config, rope = (_configured if is_configured else _sized)(*arguments, **named)
        self.wiring = find_wiring(config.norm)
        norm = partial(RMSNorm, device=device, dtype=dtype)
        norm = norm if self.wiring.has_norms else nn.Identity
        self.ln1 = norm(config.d_model)
        self.attn = MultiHeadSelfAttention(
            config.d_model,
            config.num_heads,
            num_kv_heads=config.num_kv_heads,
            rope=build_positions(config, device=device) if rope is None else rope,
            qk_norm=config.qk_norm,
            attention=config.attention,
            device=device,
            dtype=dtype,
        )
        self.ln2 = norm(config.d_model)
        feed_forward = find_feed_forward(config.feed_forward)
        self.ffn = feed_forward(config.d_model, config.d_ff, device=device, dtype=dtype)

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


def _configured(
    config: ModelConfig, rope: Positions | None = None
) -> tuple[ModelConfig, Positions | None]:
    return config, rope


def _sized(
    d_model: int, num_heads: int, d_ff: int, max_seq_len: int, theta: float
) -> tuple[ModelConfig, None]:
    """Return the configuration of a block alone: vocabulary and depth are those of no model."""
    return ModelConfig(1, max_seq_len, d_model, 1, num_heads, d_ff, rope_theta=theta), None


_configured.__qualname__ = _sized.__qualname__ = "TransformerBlock"  # in Python's own TypeErrors
