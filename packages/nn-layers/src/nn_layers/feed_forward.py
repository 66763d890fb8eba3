"""Transform each position by itself: gated SwiGLU, or plain SiLU for the ablation."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nn_layers.activations import silu
from nn_layers.linear import Linear
from nn_layers.state_dict import accept_stacked


class SwiGLU(nn.Module):
    """w2(silu(w1 x) * w3 x).

    Args:
        d_model: width of input and output.
        d_ff: width inside; 8/3 d_model gives the parameters of a plain layer with 4 d_model.
        device: where the weights live.
        dtype: of the weights.

    Source: Shazeer 2020, arXiv:2002.05202, eq. 6. Departure: none; no biases.
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype)
        self.w3 = Linear(d_model, d_ff, device=device, dtype=dtype)
        accept_stacked(self, "w13", ("w1", "w3"))

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return (..., d)."""
        if torch.compiler.is_compiling():
            return self._forward_at_once(x)
        return self.w2(silu(self.w1(x)) * self.w3(x))

    def _forward_at_once(self, x: Tensor) -> Tensor:
        """Do the same with one product for gate and up: `x` is read once, its gradient summed."""
        stacked = x @ torch.cat((self.w1.weight, self.w3.weight)).T
        gate, up = stacked.chunk(2, dim=-1)
        return self.w2(silu(gate) * up)


class SiLUFeedForward(nn.Module):
    """w2(silu(w1 x)): no gate.

    Args:
        d_model: width of input and output.
        d_ff: width inside.
        device: where the weights live.
        dtype: of the weights.
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype)

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return (..., d)."""
        return self.w2(silu(self.w1(x)))
