"""Give each position a mark: rotary angles, or none.

Stage: beside attention. A scheme is a class with a `name`, which is `ModelConfig.position`'s value.
It may change the model's input, rotate queries and keys, or add to the scores; what it leaves out
changes nothing. A model builds one and all its layers share it. Fast backends run only the schemes
that they know; the written-out formula runs any.
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
from nn_layers.precision import at_least_float32, widest_float


class Positions(nn.Module):
    """The base of all schemes: what each may do to the model, here nothing."""

    name: ClassVar[str]
    counts_as: ClassVar[str] = "none"
    """Parameters and memory, as `accounting.ModelShape.position` has them."""

    @classmethod
    def build(cls, config: ModelConfig, *, device: torch.device | str | None = None) -> "Positions":
        """Return the scheme that a configuration describes."""
        return cls()

    def embed(self, x: Float[Tensor, "... t d"], *, first: int) -> Float[Tensor, "... t d"]:
        """Return the model's input, (..., t, d); its positions are first, first + 1, ..."""
        return x

    def rotate(
        self, x: Float[Tensor, "... t k"], token_positions: Int[Tensor, "... t"]
    ) -> Float[Tensor, "... t k"]:
        """Return queries or keys, (..., t, k), as their positions turn them."""
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
    """No positions at all (NoPE): order is what the causal mask shows of it."""

    name = "none"


class RotaryPositionalEmbedding(Positions):
    """Rotate pair j of a vector at position p by the angle p * theta^(-2j / d_k).

    Args:
        theta: base of the wavelengths.
        d_k: width of a head; even.
        max_seq_len: positions are 0 .. max_seq_len - 1.
        device: where the tables live.
        layout: which dimensions pair up: "adjacent" (2j, 2j + 1) as in RoFormer, or "half"
            (j, j + d_k / 2) as in Llama checkpoints.

    Raises:
        ValueError: an odd width, an unknown layout, a size below 1.

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
        device: torch.device | str | None = None,
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
        self._theta = theta
        where = torch.get_default_device() if device is None else torch.device(device)
        cos, sin = _tables(theta, d_k, max_seq_len, where)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @classmethod
    def build(
        cls, config: ModelConfig, *, device: torch.device | str | None = None
    ) -> "RotaryPositionalEmbedding":
        """Return the tables that a configuration describes."""
        sizes = (config.rope_theta, config.d_head, config.context_length)
        return cls(*sizes, device=device, layout=config.rope_layout)

    def rotate(
        self, x: Float[Tensor, "... t k"], token_positions: Int[Tensor, "... t"]
    ) -> Float[Tensor, "... t k"]:
        """Return `forward(x, token_positions)`."""
        return self(x, token_positions)

    def forward(
        self, x: Float[Tensor, "... t k"], token_positions: Int[Tensor, "... t"]
    ) -> Float[Tensor, "... t k"]:
        """Rotate `x`.

        Args:
            x: (..., t, k); queries or keys.
            token_positions: (..., t) or (t,); broadcast against the leading axes of `x`.

        Returns:
            (..., t, k) in the type of `x`.

        Raises:
            ValueError: `x` is not d_k wide.
            IndexError: a position that is negative or beyond the tables; CUDA reports it later.
        """
        if x.shape[-1] != 2 * self.cos.shape[-1]:  # one pair would broadcast to any width
            raise ValueError(
                f"x is {x.shape[-1]} wide, but the tables are for d_k={2 * self.cos.shape[-1]}"
            )
        wide = at_least_float32(x)
        cos, sin = self._angles_at(token_positions, wide.dtype)
        pattern = "... (j r) -> r ... j" if self.layout == "adjacent" else "... (r j) -> r ... j"
        first, second = rearrange(wide, pattern, r=2)
        turned = torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1)
        back = "... j r -> ... (j r)" if self.layout == "adjacent" else "... j r -> ... (r j)"
        return rearrange(turned, back).to(x.dtype)

    def rotate_halves(
        self, x: Float[Tensor, "... t k"], token_positions: Int[Tensor, "... t"]
    ) -> Float[Tensor, "... t k"]:
        """Rotate `x`, whose dimensions pair up as (j, j + d_k / 2) whatever the layout says."""
        wide = at_least_float32(x)
        cos, sin = self._angles_at(token_positions, wide.dtype)
        first, second = wide.chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
        return turned.to(x.dtype)

    def float32_tables(self) -> tuple[Float[Tensor, "t j"], Float[Tensor, "t j"]]:
        """Return cosines and sines as a kernel takes them."""
        return self.cos.float(), self.sin.float()

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> "RotaryPositionalEmbedding":
        """Move with the module, but never narrow the tables: `.bfloat16()` leaves them alone.

        No state dict holds them, so those that were built without memory are computed here.
        """
        target = fn(torch.empty(0, dtype=torch.float32, device=self.cos.device)).device
        # First what the target has no type for: `fn` could not move it.
        dtype = min(self.cos.dtype, widest_float(target), key=lambda one: one.itemsize)
        cos, sin = self.cos, self.sin = self.cos.to(dtype), self.sin.to(dtype)
        super()._apply(fn, recurse)
        device = self.cos.device
        if cos.is_meta and device.type != "meta":
            cos, sin = _tables(self._theta, 2 * cos.shape[-1], len(cos), device)
        self.cos, self.sin = cos.to(device), sin.to(device)
        return self

    def _angles_at(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return cosines and sines of positions."""
        advice = "give positions that the tables were built for"
        tables = (self.cos, self.sin)
        cos, sin = (look_up(one, positions, name="positions", advice=advice) for one in tables)
        return cos.to(dtype), sin.to(dtype)


def build_positions(config: ModelConfig, *, device: torch.device | str | None = None) -> Positions:
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
    """Return cosines and sines of position times frequency, in the widest type of the device.

    The angles are float64, so that long positions keep their digits, on the CPU where the device
    has none.
    """
    widest = widest_float(device)
    place = device if widest == torch.float64 else torch.device("cpu")
    exponents = torch.arange(0, d_k, 2, device=place, dtype=torch.float64) / d_k
    positions = torch.arange(max_seq_len, device=place, dtype=torch.float64)
    angles = torch.outer(positions, theta**-exponents)
    return angles.cos().to(widest).to(device), angles.sin().to(widest).to(device)
