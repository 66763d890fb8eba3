"""Map the last axis by a matrix, without bias."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nn_layers.initialization import Device, DType, linear_std, truncated_normal_


class Linear(nn.Module):
    """y = W x over the last axis.

    >>> Linear(3, 5)(torch.zeros(2, 4, 3)).shape
    torch.Size([2, 4, 5])
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self, in_features: int, out_features: int, device: Device = None, dtype: DType = None
    ) -> None:
        super().__init__()
        weight = torch.empty(out_features, in_features, device=device, dtype=dtype)
        self.weight = nn.Parameter(weight)
        truncated_normal_(self.weight, std=linear_std(in_features, out_features))

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """Return (..., d_out); the weight is stored (d_out, d_in)."""
        return x @ self.weight.T
