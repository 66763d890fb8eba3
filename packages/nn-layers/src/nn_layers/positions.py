"""Mark each position: with rotary angles, or not at all.

Stage: beside attention. A scheme is a class with a `name`, which is `ModelConfig.position`'s value.
It may change the model's input, rotate queries and keys, or add to the scores; by default it does
none of these. A model builds one scheme, and all its layers share it.
"""

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from nn_layers.config import ModelConfig
from nn_layers.embedding import look_up
from nn_layers.initialization import Device
from nn_layers.precision import at_least_float32, widest_float


class Positions(nn.Module):
    """The base of all schemes: what each may do to the model, here nothing."""

    name: ClassVar[str]
    counts_as: ClassVar[str] = "none"
    """Parameters and memory, as `accounting.ModelShape.position` has them."""

    @classmethod
    def build(cls, config: ModelConfig, *, device: Device = None) -> "Positions":
        """Return the scheme that a configuration describes."""
        return cls()

    def embed(self, x: Float[Tensor, "... t d"], *, first: int) -> Float[Tensor, "... t d"]:
        """Return the model's input, (..., t, d), for the positions first, first + 1, ..."""
        return x

    def rotate(
        self, x: Float[Tensor, "... t k"], token_positions: Int[Tensor, "... t"]
    ) -> Float[Tensor, "... t k"]:
        """Return queries or keys, (..., t, k), turned by their positions."""
        return x

    def bias(
        self, token_positions: Int[Tensor, "... t"], *, past: int, num_heads: int
    ) -> Float[Tensor, "... h t s"] | None:
        """Return what is added to the scores; None: nothing.

        Args:
            token_positions: (..., t) of the queries and their own keys.
            past: keys before those, at positions 0 .. past - 1; s = past + t.
            num_heads: query heads h.
        """
        return None


class NoPositions(Positions):
    """No positions at all (NoPE): only the causal mask shows the order."""

    name = "none"


class RotaryPositionalEmbedding(Positions):
    """Rotate pair j of a vector at position p by the angle p * theta^(-2j / d_k).

    Args:
        theta: base of the wavelengths.
        d_k: width of a head; even.
        max_seq_len: positions are 0 .. max_seq_len - 1.
        layout: which dimensions pair up: "adjacent" (2j, 2j + 1) as in RoFormer, or "half"
            (j, j + d_k / 2) as in Llama checkpoints.

    Source: Su et al. 2021, arXiv:2104.09864, eq. 34. Departure: none for "adjacent".

    >>> rope = RotaryPositionalEmbedding(10000.0, 4, 8)
    >>> rope(torch.ones(1, 3, 4), torch.arange(3)).shape
    torch.Size([1, 3, 4])
    """

    name = "rope"
    counts_as = "rope"
    cos: Tensor
    sin: Tensor
    __call__: Callable[..., Tensor]

    def __init__(
        self,
        theta: float,
        d_k: int,
        max_seq_len: int,
        device: Device = None,
        *,
        layout: Literal["adjacent", "half"] = "adjacent",
    ) -> None:
        super().__init__()
        if d_k < 2 or d_k % 2:
            raise ValueError(f"d_k is {d_k}, but rotations turn pairs; give a positive even width")
        if layout not in ("adjacent", "half"):
            raise ValueError(f"layout is {layout!r}, but must be 'adjacent' or 'half'")
        if max_seq_len < 1 or not 0 < theta < math.inf:
            raise ValueError(
                f"max_seq_len is {max_seq_len} and theta {theta}, but both must be positive"
            )
        self.layout: Literal["adjacent", "half"] = layout
        self._sizes = theta, d_k, max_seq_len
        where = torch.get_default_device() if device is None else torch.device(device)
        cos, sin = _tables(*self._sizes, where)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @classmethod
    def build(cls, config: ModelConfig, *, device: Device = None) -> "RotaryPositionalEmbedding":
        """Return the tables that a configuration describes."""
        sizes = (config.rope_theta, config.d_head, config.context_length)
        return cls(*sizes, device=device, layout=config.rope_layout)

    def forward(
        self, x: Float[Tensor, "... t k"], token_positions: Int[Tensor, "... t"]
    ) -> Float[Tensor, "... t k"]:
        """Rotate queries or keys.

        Args:
            x: (..., t, k).
            token_positions: (..., t) or (t,); broadcast against the leading axes of `x`.

        Raises:
            ValueError: `x` is not d_k wide.
            IndexError: a position outside [0, max_seq_len).
        """
        if x.shape[-1] != 2 * self.cos.shape[-1]:  # one pair would broadcast to any width
            raise ValueError(
                f"x is {x.shape[-1]} wide, but the tables are for d_k={2 * self.cos.shape[-1]}"
            )
        wide = at_least_float32(x)
        cos, sin = self._angles_at(token_positions, wide.dtype)
        pair = "j r" if self.layout == "adjacent" else "r j"
        first, second = rearrange(wide, f"... ({pair}) -> r ... j", r=2)
        turned = torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1)
        return rearrange(turned, f"... j r -> ... ({pair})").to(x.dtype)

    rotate = forward

    def rotate_halves(
        self, x: Float[Tensor, "... t k"], token_positions: Int[Tensor, "... t"]
    ) -> Float[Tensor, "... t k"]:
        """Rotate `x`, whose dimensions pair up as (j, j + d_k / 2) whatever the layout is."""
        wide = at_least_float32(x)
        cos, sin = self._angles_at(token_positions, wide.dtype)
        first, second = wide.chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
        return turned.to(x.dtype)

    def float32_tables(self) -> tuple[Float[Tensor, "t j"], Float[Tensor, "t j"]]:
        """Return cosines and sines in float32."""
        return self.cos.float(), self.sin.float()

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> "RotaryPositionalEmbedding":
        """Compute the tables again where the module moves to: no state dict has them.

        They keep their type, so `.bfloat16()` does not narrow them.
        """
        where = fn(torch.empty(0, dtype=torch.float32, device=self.cos.device)).device
        self.cos, self.sin = _tables(*self._sizes, where)
        return self

    def _angles_at(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        advice = "give positions that the tables were built for"
        tables = (look_up(one, positions, "positions", advice) for one in (self.cos, self.sin))
        cos, sin = (one.to(dtype) for one in tables)
        return cos, sin


def build_positions(config: ModelConfig, *, device: Device = None) -> Positions:
    """Return the scheme that a configuration names."""
    return find_scheme(config.position).build(config, device=device)


def find_scheme(name: str) -> type[Positions]:
    """Return the class of a scheme.

    >>> find_scheme("none").__name__
    'NoPositions'
    """
    return next(one for one in Positions.__subclasses__() if one.name == name)


def _tables(
    theta: float, d_k: int, max_seq_len: int, device: torch.device
) -> tuple[Float[Tensor, "t j"], Float[Tensor, "t j"]]:
    """Return cosines and sines of position times frequency, in the widest type of the device."""
    # On the CPU and in float64, so that long positions keep their digits on every device.
    place = torch.device("cpu")
    exponents = torch.arange(0, d_k, 2, device=place, dtype=torch.float64) / d_k
    positions = torch.arange(max_seq_len, device=place, dtype=torch.float64)
    angles = torch.outer(positions, theta**-exponents)
    kind = widest_float(device)
    return angles.cos().to(kind).to(device), angles.sin().to(kind).to(device)
