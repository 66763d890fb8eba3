"""Say in which type something is computed: wide sums and exponentials, autocast's products."""

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


def as_autocast_has_it(x: Tensor) -> Tensor:
    """Return a factor in the type that autocast gives it: float64 and, without autocast, its own.

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
