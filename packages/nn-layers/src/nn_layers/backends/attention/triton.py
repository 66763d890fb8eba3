"""Attend by our own kernel in Triton, rotation inside; for CUDA."""

import torch
from torch import Tensor

from nn_layers.backends.attention import sdpa
from nn_layers.backends.interface import Setting
from nn_layers.backends.projections import Projections
from nn_layers.backends.rotary_attention import attend_layer, why_no_rotary_attention


class Backend(sdpa.Backend):
    """The kernel for whole windows; torch's for what continues a cache or has given positions."""

    keeps = "native"
    is_built_first = True

    def rank(self, setting: Setting) -> int | None:
        """Come first on CUDA; float32 products gain nothing from tensor cores."""
        is_narrow = setting.dtype != torch.float32
        return 1 if setting.device.type == "cuda" and is_narrow else None

    def why_not(self, setting: Setting) -> str | None:
        """Return what the device or the kernel lacks."""
        if setting.device.type != "cuda":
            return f"that kernel is for CUDA and needs a CUDA device, but this is {setting.device}"
        return super().why_not(setting) or why_no_rotary_attention(
            setting.device, width=setting.d_head, dtype=setting.dtype
        )

    def attend_layer(self, layer: Projections, x: Tensor) -> Tensor:
        """Return the heads of a whole window."""
        return attend_layer(layer, x, kernel="triton")
