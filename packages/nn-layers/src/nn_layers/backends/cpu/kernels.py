"""Decide whether this CPU can run the compiled kernels, and load them.

Stage: beside `attention`, `loss`. The kernels need AVX-512, and for arrays of bfloat16 its products
of bfloat16; on other CPUs the layers take other paths.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from nn_layers.backends.cpu.build import NativeError, build, cpu_flags, find_compiler, is_built

Kernel = Literal["attention_step", "loss_step"]

_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
_NEEDED = {torch.float32: _AVX512, torch.bfloat16: _AVX512 | {"avx512_bf16"}}


def why_no_native_kernels(dtype: torch.dtype) -> str | None:
    """Return why this CPU cannot run the compiled kernels on `dtype`, or None; builds nothing.

    >>> why_no_native_kernels(torch.float64)
    'compiled kernels support float32 and bfloat16, and this is float64'
    """
    name = str(dtype).removeprefix("torch.")
    if dtype not in _NEEDED:
        return f"compiled kernels support float32 and bfloat16, and this is {name}"
    if missing := _NEEDED[dtype] - cpu_flags():
        return f"compiled kernels in {name} need a CPU with {', '.join(sorted(missing))}"
    if find_compiler() is None:
        return "compiled kernels need a C++ compiler (CXX, g++, clang++), and there is none"
    return None


def prepare_kernel(kernel: Kernel, dtype: torch.dtype, say: Callable[[str], None]) -> str | None:
    """Load a kernel, built first if necessary, which `say` reports; return why that failed."""
    if not is_built(_source(kernel)):
        say(f"building {kernel} for this CPU: some seconds, once")
    try:
        load_kernel(kernel, dtype)
    except NativeError as error:
        return str(error)
    return None


@cache
def load_kernel(kernel: Kernel, dtype: torch.dtype) -> ctypes.CDLL:
    """Return a kernel's library, built first if necessary.

    Raises:
        NativeError: it cannot be built, or the system does not let this process use it.
    """
    if reason := why_no_native_kernels(dtype):
        raise NativeError(reason)
    library = build(_source(kernel))
    if not library.knows(ctypes.c_int64(dtype.itemsize)):
        raise NativeError(
            f"the system does not lend this process what {kernel} in {dtype} needs of the CPU"
        )
    return library


def _source(kernel: Kernel) -> Path:
    return Path(__file__).with_name(f"{kernel}.cpp")
