"""Allocate the memory that kernels work on.

Stage: none. An address does not keep an array alive, so a caller that passes addresses to a kernel
holds the arrays. Not here: the kernels.
"""

import mmap

import numpy as np

_HUGE_PAGE_BYTES = 1 << 21


def zeroed(num_bytes: int) -> np.ndarray:
    """Return (num_bytes or more,) uint8 zeros, in huge pages if possible, for random access."""
    if num_bytes < _HUGE_PAGE_BYTES or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(num_bytes, np.uint8)
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_HUGEPAGE)  # before anything is touched
    return np.frombuffer(pages, np.uint8)


def zeros(count: int, dtype: type) -> np.ndarray:
    """Return (count,) zeros of a dtype, allocated by `zeroed`."""
    return zeroed(count * np.dtype(dtype).itemsize)[: count * np.dtype(dtype).itemsize].view(dtype)


def address_of(array: np.ndarray) -> int:
    """Return the address of the array's first element; the caller keeps the array."""
    assert array.flags.c_contiguous
    return array.ctypes.data
