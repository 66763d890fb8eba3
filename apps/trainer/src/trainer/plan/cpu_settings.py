"""Tune the CPU for the duration of a run, and restore its settings afterwards.

Stage: beside the whole run. Three settings of the process: large blocks of memory are kept instead
of returned to the system and faulted in again at every step; float32 products go through oneDNN
where they stay float32 (on CPUs with AMX the same switch rounds to bfloat16, so it is tried first);
and there are no more threads than usable CPUs, since torch ignores quotas. How threads wait for
each other is in `yielding_threads`.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch

from bpe.counting.cpus import usable_cpus
from trainer.plan.yielding_threads import yielding_threads

MAX_RELATIVE_ERROR = 2e-6
"""Of a float32 product with 512 terms per entry, against float64; bfloat16 inputs give 3e-3."""

# glibc's malloc.h: names of mallopt's parameters, and their initial values.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_FIRST_THRESHOLD, _FIRST_MMAP_MAX = 128 * 1024, 65536
_NEVER = 2**31 - 1


@contextmanager
def cpu_settings(device: torch.device, *, say: Callable[[str], None]) -> Iterator[None]:
    """Set what a run on the CPU needs, report what could not be set, and restore it at the end."""
    with ExitStack() as settings:
        if device.type == "cpu":
            settings.enter_context(allowed_threads())
            settings.enter_context(yielding_threads())
            settings.enter_context(kept_memory(say=say))
            settings.enter_context(onednn_products(say=say))
        yield


@contextmanager
def allowed_threads() -> Iterator[None]:
    """Use no more threads than usable CPUs, unless the environment sets their number."""
    before = torch.get_num_threads()
    if not {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}.isdisjoint(os.environ):
        yield
        return
    torch.set_num_threads(min(before, usable_cpus()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def onednn_products(*, say: Callable[[str], None]) -> Iterator[None]:
    """Send float32 products through oneDNN, unless that rounds more than float32 does."""
    if not torch.backends.mkldnn.is_available():
        say("float32 products do not use oneDNN: this build of torch lacks it")
        yield
        return
    matmul = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]  # no stub
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"  # which oneDNN may round to, but does not without AMX
    try:
        error = product_error()
        if error >= MAX_RELATIVE_ERROR:
            matmul.fp32_precision = before
            say(
                f"float32 products do not use oneDNN: its relative error here is {error:.1e}, and "
                f"float32 needs less than {MAX_RELATIVE_ERROR:.0e}"
            )
        yield
    finally:
        matmul.fp32_precision = before


def product_error() -> float:
    """Return the relative error of float32 products under torch's present settings.

    Forward, and both products of backward: y = x w^T, dx = g w, dw = g^T x.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    x, w, g = (
        torch.randn(shape, dtype=torch.float32, device="cpu", generator=generator)
        for shape in ((1024, 512), (768, 512), (1024, 768))
    )
    pairs = ((x, w.T), (g, w), (g.T, x))
    return max(_relative_error(left, right) for left, right in pairs)


def _relative_error(left: torch.Tensor, right: torch.Tensor) -> float:
    exact = left.double() @ right.double()
    return float(((left @ right) - exact).norm() / exact.norm())


@contextmanager
def kept_memory(*, say: Callable[[str], None]) -> Iterator[None]:
    """Let glibc keep what is freed; a step allocates the same again, and page faults cost.

    If `MALLOC_*` variables are set, nothing is changed.
    """
    glibc = _glibc()
    if glibc is None or any(name.startswith("MALLOC_") for name in os.environ):
        reason = "MALLOC_ variables are set" if glibc else "the C library is not glibc"
        say(f"allocator settings are left unchanged: {reason}")
        yield
        return
    # Large blocks come from the heap, never from mmap, and the heap does not shrink.
    glibc.mallopt(_MMAP_MAX, 0)
    glibc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        glibc.mallopt(_MMAP_MAX, _FIRST_MMAP_MAX)
        glibc.mallopt(_MMAP_THRESHOLD, _FIRST_THRESHOLD)
        glibc.mallopt(_TRIM_THRESHOLD, _FIRST_THRESHOLD)
        glibc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:  # not Linux
        return None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
