"""Choose how a CUDA device computes: kernels, loss, compilation.

Stage: inside *plan*. What was asked for and cannot run is an error; what `auto` would have liked
and cannot have is said in a note.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from trainer.config.optimizers import GRAPH_OPTIMIZERS
from trainer.config.run_config import RunConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class CudaChoices:
    """How a CUDA device computes; the fields are those of `ComputePlan`."""

    attention: Literal["plain", "fused", "matmul", "native", "triton"]
    loss: Literal["plain", "chunked", "native", "fused"]
    compile: bool
    notes: tuple[str, ...]


def choose_on_cuda(
    config: RunConfig,
    *,
    dtype: torch.dtype,
    why_no_kernels: str | None,
    why_no_attention: str | None,
) -> CudaChoices:
    """Return what `auto` means on a CUDA device, and what was asked for otherwise.

    Args:
        config: the run.
        dtype: compute type.
        why_no_kernels: what keeps Triton from running; None: nothing.
        why_no_attention: what keeps the attention kernel from running; None: nothing.

    Raises:
        ValueError: the configuration names what cannot run here.
    """
    attention, loss = config.model.attention, config.training.loss
    refuse("model.attention", attention, "native", "that kernel is for the CPU")
    refuse("training.loss", loss, "native", "that kernel is for the CPU")
    refuse("model.attention", attention, "triton", why_no_attention)
    refuse("training.loss", loss, "fused", why_no_kernels)
    refuse("training.compile", config.training.compile, "on", why_no_kernels)
    notes = []
    if attention == "auto":
        # Float32 products gain nothing from a kernel made for tensor cores.
        wants_kernel = dtype != torch.float32
        attention = "triton" if wants_kernel and why_no_attention is None else "fused"
        if wants_kernel and why_no_attention is not None:
            notes.append(f"attention is torch's fused kernel, which is slower: {why_no_attention}")
    if loss == "auto":
        loss = "fused" if why_no_kernels is None else "plain"
    if why_no_kernels is not None:
        notes.append(
            f"steps are neither compiled nor captured as a graph and slower: {why_no_kernels}"
        )
    if config.optimizer.name not in GRAPH_OPTIMIZERS:
        notes.append(
            f"steps of {config.optimizer.name} are not captured as a graph and slower: only those "
            f"of {', '.join(GRAPH_OPTIMIZERS)} can be"
        )
    compiles = config.training.compile != "off" and why_no_kernels is None
    return CudaChoices(attention=attention, loss=loss, compile=compiles, notes=tuple(notes))


def refuse(field: str, asked: str, name: str, reason: str | None) -> None:
    """Refuse a choice by its name, where there is a reason.

    Raises:
        ValueError: `asked` is `name`, and something keeps it from running.
    """
    if asked == name and reason is not None:
        raise ValueError(f"{field} is {name}, but {reason}; use auto")
