"""Refuse settings and gradients that no update here can use.

Stage: in front of every *optimizer*; each group of parameters is checked once, when it is added.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def require_non_negative(name: str, value: object) -> None:
    """Raise unless `value` is a finite number >= 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {value!r}, but must be a finite number >= 0")


def require_betas(betas: object) -> None:
    """Raise unless `betas` is a pair of numbers in [0, 1)."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ValueError(f"betas is {betas!r}, but must be a pair of numbers in [0, 1)")
    for index, beta in enumerate(betas):
        require_non_negative(f"betas[{index}]", beta)
        if beta >= 1:
            raise ValueError(f"betas[{index}] is {beta!r}, but must be in [0, 1)")


def require_known_settings(group: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise if a parameter group sets what the optimizer does not read."""
    known = {"params", "param_names", *defaults}
    unknown = [name for name in group if name not in known]
    if unknown:
        raise ValueError(
            f"parameter group sets {', '.join(map(repr, unknown))}, but the optimizer knows "
            f"{', '.join(map(repr, defaults))}; remove or rename it"
        )


def require_dense_gradients(gradients: list[Tensor]) -> None:
    """Raise if a gradient is sparse or complex."""
    for gradient in gradients:
        if gradient.is_sparse or gradient.is_complex():
            raise ValueError(
                f"gradient of shape {tuple(gradient.shape)} is {gradient.dtype} with layout "
                f"{gradient.layout}, but only dense real gradients are supported; "
                "build the layer without sparse gradients"
            )
