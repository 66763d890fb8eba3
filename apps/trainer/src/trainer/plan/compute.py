"""Decide how a run computes: which paths, in what type, compiled or not, and say so.

Stage: configuration, device -> *plan* -> model, step. Every path gives the same result up to
rounding; `auto` takes the fastest that is exact. What was asked for and cannot run is an error;
what `auto` would have liked and cannot have is said in a note.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from nn_layers import NativeError, native_kernels, why_no_kernels, why_no_rotary_attention
from nn_layers.native_build import find_compiler
from trainer.config.run_config import RunConfig
from trainer.plan.cuda import choose_on_cuda, refuse
from trainer.plan.devices import resolve_dtype

AttentionChoice = Literal["plain", "fused", "matmul", "native", "triton"]
LossChoice = Literal["plain", "chunked", "native", "fused"]

LONG_RUN_FLOPS = 1e15
"""Of a run that takes the better part of an hour on two CPU cores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputePlan:
    """How a run computes."""

    dtype: torch.dtype
    """Of activations and products; weights and optimizer state stay float32."""
    attention: AttentionChoice
    loss: LossChoice
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


def plan_compute(
    config: RunConfig, *, device: torch.device, say: Callable[[str], None] = lambda _: None
) -> ComputePlan:
    """Return how to compute on `device`, with what must be built for that.

    Args:
        config: the run.
        device: where.
        say: told before something is built, which takes seconds, once a machine.

    Raises:
        ValueError: the configuration names a path that cannot run here; says what can.
    """
    if device.type == "cuda":
        return _plan_cuda(config, device)
    if device.type == "mps":
        return _plan_mps(config, device)
    wants_compile, notes = _plan_compile(config, device)
    dtype = resolve_dtype(config.dtype, device)
    attention, attention_notes = _plan_attention(config, device, dtype, say)
    loss, loss_notes = _plan_loss(config, device, dtype, say)
    return ComputePlan(
        dtype=dtype,
        attention=attention,
        loss=loss,
        compile=wants_compile,
        notes=(*notes, *attention_notes, *loss_notes, *_describe_bfloat16(dtype, device)),
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


def _plan_mps(config: RunConfig, device: torch.device) -> ComputePlan:
    """Return what torch itself can do on Apple's GPU: float32, its own operations, no compiler."""
    attention, loss = config.model.attention, config.training.loss
    refuse("model.attention", attention, "native", f"that kernel is for the CPU, not for {device}")
    refuse("model.attention", attention, "triton", f"that kernel is for CUDA, not for {device}")
    refuse("training.loss", loss, "native", f"that kernel is for the CPU, not for {device}")
    refuse("training.compile", config.training.compile, "on", f"{device} runs uncompiled steps")
    return ComputePlan(
        dtype=resolve_dtype(config.dtype, device),
        attention="fused" if attention == "auto" else attention,
        loss="chunked" if loss == "auto" else loss,
        compile=False,
    )


def _plan_attention(
    config: RunConfig, device: torch.device, dtype: torch.dtype, say: Callable[[str], None]
) -> tuple[AttentionChoice, tuple[str, ...]]:
    """Return the path of attention, with the CPU's own kernel built where it is taken."""
    asked = config.model.attention
    if asked == "triton" and device.type != "cuda":
        raise ValueError(
            f"model.attention is triton, but that kernel needs a CUDA device and this is {device}; "
            "use auto"
        )
    if asked not in ("auto", "native"):
        return asked, ()
    width = config.model.d_model // config.model.num_heads
    reason = why_no_rotary_attention(device, width=width, dtype=dtype)
    if (reason := reason or _why_not_loaded("attention_step", device, dtype, say)) is None:
        return "native", ()
    if asked == "native":
        raise ValueError(f"model.attention is native, but {reason}; use auto")
    return "matmul", (f"attention is by batched products, which are slower: {reason}",)


def _plan_loss(
    config: RunConfig, device: torch.device, dtype: torch.dtype, say: Callable[[str], None]
) -> tuple[LossChoice, tuple[str, ...]]:
    """Return the path of the loss, with the CPU's own kernel built where it is taken."""
    asked = config.training.loss
    if asked not in ("auto", "native"):
        return asked, ()
    if (reason := _why_not_loaded("loss_step", device, dtype, say)) is None:
        return "native", ()
    if asked == "native":
        raise ValueError(f"training.loss is native, but {reason}; use auto")
    return "chunked", (f"the loss takes torch's operations, which are slower: {reason}",)


def _why_not_loaded(
    kernel: native_kernels.Kernel,
    device: torch.device,
    dtype: torch.dtype,
    say: Callable[[str], None],
) -> str | None:
    """Return why a kernel for the CPU cannot be had; it is built where it is not there yet."""
    if device.type != "cpu":
        return f"that kernel is for the CPU, and this is {device}"
    if reason := native_kernels.why_no_native_kernels(dtype):
        return reason
    if not native_kernels.is_kernel_built(kernel):
        say(f"building {kernel} for this CPU: some seconds, once")
    try:
        native_kernels.load_kernel(kernel, dtype)
    except NativeError as error:
        return str(error)
    return None


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
    if device.type == "cpu" and find_compiler() is None:
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
