"""Multiply large matrices, to find the machine's peak at what contestants mostly do."""

from collections.abc import Callable

import torch

SIZES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192)}
"""Sides of the square matrices by kind of device; the fastest counts."""


def multiplier(size: int, *, device: torch.device, dtype: torch.dtype) -> Callable[[int], object]:
    """Return a function that multiplies two square matrices in 2 size^3 FLOPs."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return lambda _: torch.mm(a, b, out=out)
