"""Can kernels run here? What other packages may ask before they import any; see `kernel_parts`."""

from bpe._kernels.presence import can_compile

__all__ = ["can_compile"]
