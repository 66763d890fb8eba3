"""Decide how a run computes: which backends, in what type, compiled or not.

Stage: configuration, device -> *plan* -> model, step. Every way gives the same result up to
rounding; `nn_layers.backends` decides which one `auto` takes. An option that cannot run is an
error; fallbacks of `auto` are reported.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from accounting import training_flops
from nn_layers import why_no_kernels
from nn_layers.backends.choice import choose_attention, choose_loss
from nn_layers.backends.cpu.build import cpu_flags, find_compiler
from nn_layers.backends.interface import Setting
from nn_layers.positions import find_scheme
from trainer.config.optimizers import GRAPH_OPTIMIZERS
from trainer.config.run_config import RunConfig
from trainer.plan.devices import resolve_dtype
from trainer.plan.shape import model_shape

LONG_RUN_FLOPS = 1e15
"""Of a run that takes most of an hour on two CPU cores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputePlan:
    """How a run computes."""

    dtype: torch.dtype
    """Of activations and products; weights and optimizer state stay float32."""
    attention: str
    """Name of a backend; so is the loss."""
    loss: str
    compile: bool
    """Whether torch.compile is used."""
    notes: tuple[str, ...] = ()
    """Fallbacks, their reasons and costs."""

    def describe(self) -> str:
        """Return the plan in one line, for people.

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
    """Return how to compute on `device`, having built what that needs.

    `say` reports each build, which takes seconds, once per machine.

    Raises:
        ValueError: the configuration names a backend that cannot run here.
    """
    setting = compute_setting(config, device)
    asked = config.model.attention
    attention = choose_attention(asked, setting, option="model.attention", say=say)
    loss = choose_loss(config.training.loss, setting, option="training.loss", say=say)
    compiles, notes = _plan_compile(config, device)
    notes = (*notes, *attention.notes, *loss.notes, *_describe_bfloat16(setting.dtype, device))
    return ComputePlan(
        dtype=setting.dtype, attention=attention.name, loss=loss.name, compile=compiles, notes=notes
    )


def compute_setting(config: RunConfig, device: torch.device) -> Setting:
    """Return the facts by which backends are chosen."""
    model = config.model
    return Setting(
        device=device,
        dtype=resolve_dtype(config.dtype, device),
        d_head=model.d_model // model.num_heads,
        positions=find_scheme(model.position),
    )


def _plan_compile(config: RunConfig, device: torch.device) -> tuple[bool, tuple[str, ...]]:
    """Return whether steps are compiled, and on CUDA captured as a graph, and why not."""
    asked, reason = config.training.compile, _why_not_compiled(device)
    if asked == "on" and reason:
        raise ValueError(f"training.compile is on, but {reason}; use auto")
    is_cuda, notes = device.type == "cuda", []
    if is_cuda and config.optimizer.name not in GRAPH_OPTIMIZERS:
        notes.append(
            f"steps of {config.optimizer.name} are not captured as a graph and are slower: only "
            f"those of {', '.join(GRAPH_OPTIMIZERS)} can be"
        )
    if asked == "off" or device.type == "mps":
        return False, tuple(notes)
    if reason:
        how = "neither compiled nor captured as a graph" if is_cuda else "not compiled"
        return False, (*notes, f"steps are {how}, which is slower: {reason}")
    return asked == "on" or is_cuda or _pays_to_compile(config), tuple(notes)


def _why_not_compiled(device: torch.device) -> str | None:
    if device.type == "cuda":
        return why_no_kernels(device)
    if device.type == "mps":
        return f"{device} runs uncompiled steps"
    if find_compiler() is None:
        return (
            "torch.compile needs a C++ compiler on the CPU, and there is none (CXX, g++, clang++); "
            "install one"
        )
    return None


def _pays_to_compile(config: RunConfig) -> bool:
    """Compiling takes about a minute and makes steps a tenth or more faster."""
    shape = model_shape(config, vocab_size=config.tokenizer.vocab_size)
    return training_flops(shape, config.total_tokens) > LONG_RUN_FLOPS


def multiplies_bfloat16() -> bool | None:
    """Return whether this CPU has products of bfloat16; None: the system does not report it."""
    flags = cpu_flags()
    return not flags.isdisjoint(("avx512_bf16", "amx_bf16", "bf16")) if flags else None


def _describe_bfloat16(dtype: torch.dtype, device: torch.device) -> tuple[str, ...]:
    """Describe what bfloat16 would do on this CPU, where exactness makes float32 the default."""
    if device.type != "cpu":
        return ()
    is_native = multiplies_bfloat16()
    if dtype == torch.bfloat16 and is_native is False:
        return ("products of bfloat16 are emulated on this CPU: float32 is faster",)
    if dtype == torch.float32 and is_native:
        return (
            "this CPU multiplies bfloat16 about twice as fast as float32, with 8 bits instead of "
            "24: --dtype bfloat16",
        )
    return ()
