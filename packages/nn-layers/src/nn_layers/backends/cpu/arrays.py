"""Hand arrays to C++, having checked place, type and size.

Stage: arrays -> *addresses* -> compiled functions. C++ cannot check what lies at an address, and a
wrong one ends the process, so nothing else in this package asks for one.
"""

import ctypes

import torch
from torch import Tensor


def pointer_to(
    array: Tensor, name: str, *, dtype: torch.dtype, shape: tuple[int, ...]
) -> ctypes.c_void_p:
    """Return the address of an array, which must outlive the call that reads or writes it.

    Raises:
        ValueError: it is not on the CPU, has gaps, or has another type or shape.

    >>> pointer_to(torch.zeros(2), "losses", dtype=torch.float64, shape=(2,))
    Traceback (most recent call last):
    ValueError: losses are torch.float32 of shape (2,) on cpu, but torch.float64 losses are needed
    """
    is_plain = array.layout == torch.strided and not array.is_neg()
    if array.device.type != "cpu" or not is_plain or not array.is_contiguous():
        needed = f"contiguous {name} on the CPU"
    elif array.dtype != dtype:
        needed = f"{dtype} {name}"
    elif array.shape != shape:
        needed = f"{name} of shape {shape}"
    else:
        return ctypes.c_void_p(array.data_ptr())
    raise ValueError(
        f"{name} are {array.dtype} of shape {tuple(array.shape)} on {array.device}, but {needed} "
        "are needed"
    )
