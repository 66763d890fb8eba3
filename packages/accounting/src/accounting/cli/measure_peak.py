"""Measure the peak of a device that is in no table: the fastest of several matrix products.

Stage: device -> *FLOP/s*. This is the only module that imports torch, and only when it runs; torch
comes with the extra `measure`.
"""

import time
from pathlib import Path
from types import ModuleType

_SIZES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192, 16384), "mps": (2048, 4096, 8192)}
_SECONDS_A_SIZE = 1.0


def measure_peak(device: str, dtype: str) -> tuple[float, int]:
    """Multiply square matrices and return the best FLOP/s, and the size that reached it.

    Raises:
        ValueError: torch cannot be imported, or has no such device.
    """
    torch = _import_torch()
    kind = device.partition(":")[0]
    can = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not can.get(kind):
        named = ", ".join(name for name, is_there in can.items() if is_there)
        raise ValueError(f"device {device!r} cannot be used here; available: {named}")
    best = (0.0, 0)
    for size in _SIZES[kind]:
        left = torch.ones(size, size, device=device, dtype=getattr(torch, dtype))
        right = torch.ones_like(left)
        best = max(best, (2 * size**3 / _fastest_product(left, right), size))
    return best


def _import_torch() -> ModuleType:
    try:
        Path.cwd()  # without a working directory, torch ends the process
        import torch
    except ImportError as error:
        raise ValueError(
            f"measure-peak needs torch ({error}); install accounting[measure], or another Python "
            "if a part of that is missing"
        ) from error
    except FileNotFoundError as error:
        raise ValueError("the working directory was deleted; change to another one") from error
    return torch


def _fastest_product(left, right) -> float:  # torch is not imported here, so there is no type
    """Return the shortest time of one product, over one second and at least three products."""
    import torch

    out, seconds, end = torch.empty_like(left), [], time.perf_counter() + _SECONDS_A_SIZE
    while len(seconds) < 4 or time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        if left.device.type != "cpu":
            torch.accelerator.synchronize(left.device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
