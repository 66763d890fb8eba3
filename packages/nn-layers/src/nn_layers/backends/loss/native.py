"""Score some rows of logits at a time by our own kernel in C++; for a CPU with AVX-512."""

from torch import Tensor

from nn_layers.backends.cpu.kernels import prepare_kernel, why_no_native_kernels
from nn_layers.backends.interface import LossBackend, Say, Setting
from nn_layers.backends.loss.chunked import linear_cross_entropy


class Backend(LossBackend):
    """`linear_cross_entropy`, whose logits become their gradient in one pass."""

    keeps = "native"
    is_built_first = True

    def rank(self, setting: Setting) -> int | None:
        """Come first on the CPU."""
        return 1 if setting.device.type == "cpu" else None

    def why_not(self, setting: Setting) -> str | None:
        """Return what this CPU or its compiler lacks."""
        if setting.device.type != "cpu":
            return f"that kernel is for the CPU, and this is {setting.device}"
        return why_no_native_kernels(setting.dtype)

    def prepare(self, setting: Setting, say: Say) -> str | None:
        """Build and load the kernel."""
        return prepare_kernel("loss_step", setting.dtype, say)

    def score(
        self, hidden: Tensor, weight: Tensor, targets: Tensor, *, is_compiled: bool
    ) -> Tensor:
        """Return the mean loss."""
        return linear_cross_entropy(hidden, weight, targets, path="native")
