"""Let a layer of attention be computed by the backend that is named, or that `auto` takes.

Stage: name, positions, device -> *backend* -> heads. Not here: what attention is (`attention`).
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from nn_layers.backends.choice import attention_backends, choose_attention
from nn_layers.backends.interface import AttentionBackend, Setting
from nn_layers.backends.projections import Projections, project_at_once
from nn_layers.backends.registry import require_known
from nn_layers.positions import Positions


class BackedAttention(nn.Module):
    """The base of a layer of attention, whose `attention` names the backend that computes it."""

    __call__: Callable[..., Tensor]
    positions: Positions
    d_head: int
    project: Callable[..., tuple[Tensor, Tensor, Tensor]]
    """Makes queries and keys, with their positions, and values."""

    @property
    def attention(self) -> str:
        """The name of a backend; auto: the fastest here that needs no building."""
        return self._attention

    @attention.setter
    def attention(self, name: str) -> None:
        self._attention, self.backend = name, self._find(name)

    def projection(self, *, is_cached: bool) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """Return `project`, or its equal by one product, which pays only if it is compiled."""
        is_stacked = torch.compiler.is_compiling() and not is_cached
        return partial(project_at_once, cast(Projections, self)) if is_stacked else self.project

    def _find(self, name: str) -> AttentionBackend:
        """Return a backend that knows the positions; whether it runs shows when it does."""
        require_known("attention", name, option="attention")
        scheme = type(self.positions)
        if name != "auto":
            backend = attention_backends()[name]
            if reason := backend.why_not_positions(scheme):
                raise ValueError(f"attention is {name}, but {reason}; use auto")
            return backend
        one = next(self.parameters())
        setting = Setting(device=one.device, dtype=one.dtype, d_head=self.d_head, positions=scheme)
        return choose_attention("auto", setting).backend

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BackedAttention":
        """Move with the module; what `auto` takes depends on the device."""
        super()._apply(fn, recurse)
        self.attention = self.attention
        return self
