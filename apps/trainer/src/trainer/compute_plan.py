"""Decide how a run computes: which paths, in what type, compiled or not, and say so.

Stage: configuration, device -> *plan* -> model, step. Every path gives the same result up to
rounding; `auto` takes the fastest that is exact. What was asked for and cannot run is an error;
what `auto` would have liked and cannot have is said in a note.
"""

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from nn_layers import why_no_kernels, why_no_rotary_attention
from trainer.config import RunConfig
from trainer.cuda_plan import choose_on_cuda
from trainer.devices import resolve_dtype

LONG_RUN_FLOPS = 1e15
"""Of a run that takes the better part of an hour on two CPU cores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputePlan:
    """How a run computes."""

    dtype: torch.dtype
    """Of activations and products; weights and optimizer state stay float32."""
    attention: Literal["plain", "fused", "matmul", "triton"]
    loss: Literal["plain", "chunked", "fused"]
    compile: bool
    """Whether torch.compile is used."""
    notes: tuple[str, ...] = ()
    """What was wished for and is not there, and what that costs."""

    def describe(self) -> str:
        """Return the plan in a line, for people.

        >>> plan = ComputePlan(dtype=torch.float32, attention="plain", loss="plain", compile=False)
        >>> plan.describe()
        'float32, attention plain, loss plain, not compiled'
        """
        dtype = str(self.dtype).removeprefix("torch.")
        how = "compiled" if self.compile else "not compiled"
        return f"{dtype}, attention {self.attention}, loss {self.loss}, {how}"


def plan_compute(config: RunConfig, *, device: torch.device) -> ComputePlan:
    """Return how to compute on `device`.

    Raises:
        ValueError: the configuration names a path that cannot run here; says what can.
    """
    if device.type == "cuda":
        return _plan_cuda(config, device)
    wants_compile, notes = _plan_compile(config, device)
    dtype = resolve_dtype(config.dtype, device)
    return ComputePlan(
        dtype=dtype,
        attention=_plan_attention(config, device),
        loss="chunked" if config.training.loss == "auto" else config.training.loss,
        compile=wants_compile,
        notes=(*notes, *_describe_bfloat16(dtype, device)),
    )


def _plan_cuda(config: RunConfig, device: torch.device) -> ComputePlan:
    dtype = resolve_dtype(config.dtype, device)
    width = config.model.d_model // config.model.num_heads
    choices = choose_on_cuda(
        config,
        dtype=dtype,
        why_no_kernels=why_no_kernels(device),
        why_no_attention=why_no_rotary_attention(device, width=width, dtype=dtype),
    )
    return ComputePlan(dtype=dtype, **asdict(choices))


def find_cxx_compiler() -> str | None:
    """Return the C++ compiler that torch.compile would use on the CPU, None where there is none."""
    names = (os.environ.get("CXX"), "g++", "clang++")
    return next((name for name in names if name and shutil.which(name)), None)


def _plan_attention(
    config: RunConfig, device: torch.device
) -> Literal["plain", "fused", "matmul", "triton"]:
    asked = config.model.attention
    if asked == "triton" and device.type != "cuda":
        raise ValueError(
            f"model.attention is triton, but that kernel needs a CUDA device and this is {device}; "
            "use auto"
        )
    if asked == "auto":
        return "matmul" if device.type == "cpu" else "fused"
    return asked


def multiplies_bfloat16() -> bool | None:
    """Return whether this CPU has products of bfloat16; None where the system does not say."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:  # not Linux
        return None
    return not words.isdisjoint(("avx512_bf16", "amx_bf16", "bf16"))


def _describe_bfloat16(dtype: torch.dtype, device: torch.device) -> tuple[str, ...]:
    """Say what bfloat16 would do on this CPU; exactness decides, so it is no default there."""
    if device.type != "cpu":
        return ()
    is_native = multiplies_bfloat16()
    if dtype == torch.bfloat16 and is_native is False:
        return ("this CPU has no products of bfloat16: they are emulated, and float32 is faster",)
    if dtype == torch.float32 and is_native:
        return (
            "this CPU multiplies bfloat16 about twice as fast as float32, with 8 bits instead of "
            "24: --dtype bfloat16",
        )
    return ()


def _plan_compile(config: RunConfig, device: torch.device) -> tuple[bool, tuple[str, ...]]:
    asked = config.training.compile
    if asked == "off":
        return False, ()
    if device.type == "cpu" and find_cxx_compiler() is None:
        missing = (
            "torch.compile needs a C++ compiler on the CPU, and there is none (CXX, g++, clang++)"
        )
        if asked == "on":
            raise ValueError(f"training.compile is on, but {missing}; install one, or use auto")
        return False, (f"{missing}: the steps are not compiled and slower",)
    return asked == "on" or _pays_to_compile(config), ()


def _pays_to_compile(config: RunConfig) -> bool:
    """Compiling takes about a minute and makes steps a tenth or more faster."""
    model = config.model
    per_token = 6 * model.num_layers * model.d_model * (4 * model.d_model + 3 * model.d_ff)
    per_token += 6 * model.d_model * config.tokenizer.vocab_size
    return per_token * config.total_tokens > LONG_RUN_FLOPS
