"""Choose where the run computes and in what type.

Stage: configuration -> *device, compute type* -> model. Not here: tuning of either.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch


def resolve_device(name: str) -> torch.device:
    """Return the device that `name` means; `auto` is CUDA if there is one, else the CPU.

    Apple's `mps` is used only by name: no run on it has been tested yet.

    Raises:
        ValueError: there is no such device; the message lists those available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is unknown to torch; {_available()}") from error
    if not _is_usable(device):
        raise ValueError(f"device {name!r} cannot be used here; {_available()}")
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the compute type that `name` means; `auto` is bfloat16 on CUDA, else float32.

    Raises:
        ValueError: the device does not compute in that type.

    >>> resolve_dtype("auto", torch.device("cpu"))
    torch.float32
    """
    if name == "bfloat16" and device.type == "mps":
        raise ValueError(
            f"dtype is bfloat16, but {device} computes in float32 here; use auto or float32"
        )
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def loaded_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the compute type of a run that was trained in `name`, possibly on another device.

    >>> loaded_dtype("bfloat16", torch.device("mps"))
    torch.float32
    """
    return torch.float32 if device.type == "mps" else resolve_dtype(name, device)


def device_name(device: torch.device) -> str:
    """Return the vendor's name of the device, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return the context in which matrix products run in `dtype`, float32 or narrower."""
    if dtype == torch.float32:  # also where the caller has autocast on
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype=dtype)


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished its work; the CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def plain_modes() -> Iterator[None]:
    """Reset torch's modes for a run: gradients on, inference mode and autocast off."""
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            modes.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def deterministic_operations(device: torch.device, *, is_asked: bool) -> Iterator[None]:
    """Restrict torch to CUDA operations that give equal bits for equal input, if `is_asked`.

    Enter before the first matrix product on the device: cuBLAS reads its setting then. Our own
    kernels are not covered.
    """
    if not is_asked or device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        torch.backends.cudnn.benchmark = before[1]


def _is_usable(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available() and not device.index  # there is only one
    return device.type == "cpu"


def _available() -> str:
    names = ["auto", "cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    names += ["mps"] if torch.backends.mps.is_available() else []
    return f"available: {', '.join(names)}"
