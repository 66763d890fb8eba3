"""Choose the type of a sum, a product or a weight.

Stage: beside all layers. Sums and exponentials are at least float32, products follow autocast, and
matrices can be rounded to bfloat16, or to int8 with one scale per row.
"""

import copy
from typing import Literal, TypeVar

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

Weights = Literal["float32", "bfloat16", "int8"]
"""The type of the matrices; norm gains stay float32."""

Module = TypeVar("Module", bound=nn.Module)


def at_least_float32(x: Tensor) -> Tensor:
    """Return bfloat16 and float16 as float32; float32 and float64 as they are.

    >>> at_least_float32(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    >>> at_least_float32(torch.ones(1, dtype=torch.float64)).dtype
    torch.float64
    """
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def as_autocast_has_it(x: Tensor) -> Tensor:
    """Return a factor of a product in autocast's type; float64 and, without autocast, its own.

    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     as_autocast_has_it(torch.ones(1, dtype=torch.float32)).dtype
    torch.bfloat16
    """
    kind = x.device.type
    is_known = torch.amp.is_autocast_available(kind)  # not of meta
    if x.dtype == torch.float64 or not (is_known and torch.is_autocast_enabled(kind)):
        return x
    return x.to(torch.get_autocast_dtype(kind))


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on Apple's GPU, which has nothing wider.

    >>> widest_float(torch.device("cpu")), widest_float(torch.device("mps"))
    (torch.float64, torch.float32)
    """
    return torch.float32 if device.type == "mps" else torch.float64


def round_weights(model: Module, weights: Weights) -> Module:
    """Return a copy of a float32 model with its matrices rounded; float32: the model itself.

    >>> model = nn.Linear(3, 5)
    >>> round_weights(model, "float32") is model
    True
    """
    if weights == "float32":
        return model
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.dim() == 2:
                parameter.copy_(_rounded(parameter, weights))
    return rounded


def quantize_rows(
    weight: Float[Tensor, "d_out d_in"],
) -> tuple[Int8[Tensor, "d_out d_in"], Float[Tensor, " d_out"]]:
    """Return integers and scales with weight = integer * scale up to rounding, one scale per row.

    Symmetric: the largest magnitude of a row becomes 127, zero stays zero.

    >>> integers, scales = quantize_rows(torch.tensor([[0.0, 1.0, -2.0]]))
    >>> integers.tolist(), round(float(scales[0]), 4)
    ([[0, 64, -127]], 0.0157)
    """
    wide = weight.detach().float()
    scales = wide.abs().amax(dim=1) / 127
    scales = scales.masked_fill(scales == 0, 1.0)  # of a row of zeros
    return (wide / scales[:, None]).round().to(torch.int8), scales


def _rounded(weight: Tensor, weights: Weights) -> Tensor:
    if weights == "bfloat16":
        return weight.bfloat16().to(weight.dtype)
    integers, scales = quantize_rows(weight)
    return (integers * scales[:, None]).to(weight.dtype)
