"""Decide whether the Triton kernels can run on a device, and if not, why.

This package does not require triton: CUDA builds of torch bring it.
"""

import importlib.util
import os
import shutil

import torch

_CAPABILITY = (8, 0)  # Ampere: bfloat16 in the tensor cores


def why_no_kernels(device: torch.device) -> str | None:
    """Return why Triton kernels cannot run on `device`, or None if they can.

    >>> why_no_kernels(torch.device("cpu"))
    'Triton kernels need a CUDA device, and this is cpu'
    """
    if device.type != "cuda":
        return f"Triton kernels need a CUDA device, and this is {device}"
    if importlib.util.find_spec("triton") is None:
        return "Triton kernels need the package triton, which is not installed"
    compilers = (os.environ.get("CC"), "gcc", "clang")
    if not any(name and shutil.which(name) for name in compilers):
        return "Triton kernels need a C compiler (CC, gcc or clang), and there is none"
    capability = torch.cuda.get_device_capability(device)
    if capability < _CAPABILITY:
        needed, found = (".".join(map(str, one)) for one in (_CAPABILITY, capability))
        return f"Triton kernels need compute capability {needed}, and {device} has {found}"
    return None


def require_kernels(device: torch.device) -> None:
    """Refuse a device that the kernels cannot run on; Triton's interpreter takes any."""
    reason = why_no_kernels(device)
    if reason is not None and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"{reason}; use another path")
