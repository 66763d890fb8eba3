"""Report whether kernels can run here, without importing any.

Stage: none; asked by other packages. Not here: what kernels are built from (`kernel_parts`).
"""

from bpe._kernels.presence import can_compile

__all__ = ["can_compile"]
