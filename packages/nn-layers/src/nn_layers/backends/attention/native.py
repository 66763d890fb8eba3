"""Attend by our own kernel in C++, rotation inside; for a CPU with AVX-512."""

from torch import Tensor

from nn_layers.backends.attention import matmul
from nn_layers.backends.cpu.kernels import prepare_kernel
from nn_layers.backends.interface import Say, Setting
from nn_layers.backends.projections import Projections
from nn_layers.backends.rotary_attention import attend_layer, kernel_of, why_no_rotary_attention


class Backend(matmul.Backend):
    """The kernel for whole windows; products for what continues a cache or has given positions."""

    keeps = "native"
    is_built_first = True

    def rank(self, setting: Setting) -> int | None:
        """Come first on the CPU."""
        return 1 if setting.device.type == "cpu" else None

    def why_not(self, setting: Setting) -> str | None:
        """Return what this CPU, its compiler or the kernel lacks."""
        if kernel_of(setting.device) != "native":
            return f"that kernel is for the CPU, and this is {setting.device}"
        return super().why_not(setting) or why_no_rotary_attention(
            setting.device, width=setting.d_head, dtype=setting.dtype
        )

    def prepare(self, setting: Setting, say: Say) -> str | None:
        """Build and load the kernel."""
        return prepare_kernel("attention_step", setting.dtype, say)

    def attend_layer(self, layer: Projections, x: Tensor) -> Tensor:
        """Return the heads of a whole window."""
        return attend_layer(layer, x, kernel="native")
