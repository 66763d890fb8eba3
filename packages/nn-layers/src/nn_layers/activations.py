"""Apply the two nonlinearities: SiLU and softmax."""

import torch
from jaxtyping import Float
from torch import Tensor

from nn_layers.precision import at_least_float32


def silu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return x * sigmoid(x).

    Source: Elfwing et al. 2017, arXiv:1702.03118, eq. 1.

    >>> silu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.0000,  0.7311])
    """
    return x * torch.sigmoid(x)


def softmax(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """Return exp(x) normalised over `dim`, computed in at least float32, in the type of `x`.

    The largest entry is subtracted first, so that no exponential overflows. -inf means probability
    zero; a slice of nothing but -inf gives zeros.

    >>> softmax(torch.tensor([1000.0, 1000.0]), dim=-1)
    tensor([0.5000, 0.5000])
    """
    wide = at_least_float32(x)
    top = wide.amax(dim=dim, keepdim=True).detach()
    weights = torch.exp(wide - top.masked_fill(top == -torch.inf, 0.0))
    total = weights.sum(dim=dim, keepdim=True)
    return (weights / total.masked_fill(total == 0, 1.0)).to(x.dtype)
