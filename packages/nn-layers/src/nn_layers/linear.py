"""Map the last axis by a matrix, without bias."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nn_layers.initialization import linear_std, truncated_normal_


class Linear(nn.Module):
    """y = W x over the last axis; no bias.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        device: where the weight lives.
        dtype: of the weight.

    >>> Linear(3, 5)(torch.zeros(2, 4, 3)).shape
    torch.Size([2, 4, 5])
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self,
        in_features: int,
        out_features: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(out_features, in_features, device=device, dtype=dtype)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weight."""
        out_features, in_features = self.weight.shape
        truncated_normal_(self.weight, std=linear_std(in_features, out_features))

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """Return (..., d_out); the weight is stored (d_out, d_in)."""
        return x @ self.weight.T
