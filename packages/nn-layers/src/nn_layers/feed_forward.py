"""Transform each position by itself: gated SwiGLU, or plain SiLU for the ablation.

Stage: residual stream -> *feed-forward* -> residual stream. A kind is a class with a `name`, which
is `ModelConfig.feed_forward`'s value.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nn_layers.activations import silu
from nn_layers.initialization import Device, DType
from nn_layers.linear import Linear
from nn_layers.state_dict import accept_stacked


class FeedForward(nn.Module, ABC):
    """w2(activate(w1 x) * w3 x), or without a gate w2(activate(w1 x)); no biases.

    Args:
        d_model: width of input and output.
        d_ff: width inside; 8/3 d_model gives a gated layer the parameters of a plain one with
            4 d_model.
    """

    name: ClassVar[str]
    is_gated: ClassVar[bool] = True
    __call__: Callable[..., Tensor]

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        device: Device = None,
        dtype: DType = None,
    ) -> None:
        super().__init__()
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype)
        if self.is_gated:
            self.w3 = Linear(d_model, d_ff, device=device, dtype=dtype)
            accept_stacked(self, "w13", ("w1", "w3"))

    @abstractmethod
    def activate(self, x: Float[Tensor, "... f"]) -> Float[Tensor, "... f"]:
        """Return the nonlinearity of `x`, number by number."""

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return (..., d)."""
        if not self.is_gated:
            return self.w2(self.activate(self.w1(x)))
        if torch.compiler.is_compiling():
            return self._forward_at_once(x)
        return self.w2(self.activate(self.w1(x)) * self.w3(x))

    def _forward_at_once(self, x: Tensor) -> Tensor:
        """Do the same with one product for gate and up: `x` is read once, its gradient summed."""
        stacked = x @ torch.cat((self.w1.weight, self.w3.weight)).T
        gate, up = stacked.chunk(2, dim=-1)
        return self.w2(self.activate(gate) * up)


class SwiGLU(FeedForward):
    """w2(silu(w1 x) * w3 x).

    Source: Shazeer 2020, arXiv:2002.05202, eq. 6. Departure: none; no biases.
    """

    name = "swiglu"

    def activate(self, x: Float[Tensor, "... f"]) -> Float[Tensor, "... f"]:
        """Return silu(x)."""
        return silu(x)


class SiLUFeedForward(FeedForward):
    """w2(silu(w1 x)): no gate."""

    name = "silu"
    is_gated = False

    def activate(self, x: Float[Tensor, "... f"]) -> Float[Tensor, "... f"]:
        """Return silu(x)."""
        return silu(x)


def find_feed_forward(name: str) -> type[FeedForward]:
    """Return the class of a kind.

    >>> find_feed_forward("silu").__name__
    'SiLUFeedForward'
    """
    return next(one for one in FeedForward.__subclasses__() if one.name == name)
