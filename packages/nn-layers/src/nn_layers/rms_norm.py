"""Scale each vector to unit root mean square, then by a learned gain."""

from collections.abc import Callable

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn

from nn_layers.initialization import Device, DType
from nn_layers.precision import at_least_float32


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * gain, computed in at least float32.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4.

    >>> RMSNorm(2)(torch.tensor([3.0, 4.0]))
    tensor([0.8485, 1.1314], grad_fn=<MulBackward0>)
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self, d_model: int, eps: float = 1e-5, device: Device = None, dtype: DType = None
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model, device=device, dtype=dtype))

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return (..., d) in the type of `x`."""
        wide = at_least_float32(x)
        mean_square = reduce(wide.square(), "... d -> ... 1", "mean")
        return (wide * torch.rsqrt(mean_square + self.eps) * self.weight).to(x.dtype)
