"""Draw initial weights: every distribution in one place.

Stage: configuration -> *initial weights*. All are normals cut at three standard deviations.
Source: CS336, assignment 1 of 2025, section 3.4.1. Departure: none.
"""

import math
from typing import TypedDict

import torch
from torch import Tensor

CUT_SIGMAS = 3.0

Device = torch.device | str | None
"""Where new weights live; None: torch's default. `DType` likewise."""
DType = torch.dtype | None


class Place(TypedDict, total=False):
    """Where new weights live, and their type."""

    device: Device
    dtype: DType


def linear_std(in_features: int, out_features: int) -> float:
    """Return the standard deviation of a Linear's weight, sqrt(2 / (d_in + d_out)).

    Source: Glorot and Bengio 2010, eq. 12 (as a normal).
    """
    return math.sqrt(2.0 / (in_features + out_features))


def truncated_normal_(weight: Tensor, *, std: float) -> Tensor:
    """Fill `weight` with a normal of mean 0 and deviation `std`, cut at three deviations."""
    cut = CUT_SIGMAS * std
    with torch.no_grad():
        return torch.nn.init.trunc_normal_(weight, mean=0.0, std=std, a=-cut, b=cut)
