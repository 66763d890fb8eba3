"""Attend by the written-out formula, with any positions."""

import torch
from torch import Tensor

from nn_layers.attention import scaled_dot_product_attention
from nn_layers.backends.interface import AttentionBackend, Setting


class Backend(AttentionBackend):
    """`scaled_dot_product_attention`, which all others must equal."""

    schemes = None

    def rank(self, setting: Setting) -> int | None:
        """Come last."""
        return 9

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, *, past: int, bias: Tensor | None = None
    ) -> Tensor:
        """Return the heads."""
        return scaled_dot_product_attention(q, k, v, causal_mask(k, past), bias)


def causal_mask(k: Tensor, past: int) -> Tensor:
    """Return (t, s), true where a query may look: at itself and at earlier keys."""
    size = k.shape[-2]
    return torch.ones(size, size, dtype=torch.bool, device=k.device).tril()[past:]
