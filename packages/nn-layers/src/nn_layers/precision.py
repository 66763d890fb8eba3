"""Widen narrow floats where a sum or an exponential needs the digits."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return bfloat16 and float16 as float32; float32 and float64 as they are.

    >>> at_least_float32(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    >>> at_least_float32(torch.ones(1, dtype=torch.float64)).dtype
    torch.float64
    """
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
