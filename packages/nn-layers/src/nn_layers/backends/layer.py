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
    """The base of a layer of attention, whose `attention` names what computes it."""

    __call__: Callable[..., Tensor]
    positions: Positions
    d_head: int
    project: Callable[..., tuple[Tensor, Tensor, Tensor]]
    """Makes queries and keys, with their positions, and values."""

    @property
    def attention(self) -> str:
        """The name of a backend; auto: the fastest here that is not built first."""
        return self._attention

    @attention.setter
    def attention(self, name: str) -> None:
        self._attention, self.backend = name, self._find(name)

    def projection(self, *, is_cached: bool) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """Return what makes queries, keys and values of the layer's input.

        Without a compiler the copies that stacking makes cost what it saves.
        """
        is_stacked = torch.compiler.is_compiling() and not is_cached
        at_once = partial(project_at_once, cast(Projections, self))
        return at_once if is_stacked else self.project

    def _find(self, name: str) -> AttentionBackend:
        """Return a backend that knows the positions; where it can run is seen when it does.

        Raises:
            ValueError: no backend has the name, or the one that has does not know them.
        """
        require_known("attention", name, option="attention")
        scheme = type(self.positions)
        if name != "auto":
            backend = attention_backends()[name]
            if reason := backend.why_not_positions(scheme):
                raise ValueError(f"attention is {name}, but {reason}; use auto")
            return backend
        weight = next(self.parameters())
        setting = Setting(
            device=weight.device, dtype=weight.dtype, d_head=self.d_head, positions=scheme
        )
        return choose_attention("auto", setting).backend

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BackedAttention":
        """Move with the module; what `auto` takes depends on the device."""
        super()._apply(fn, recurse)
        self.attention = self.attention
        return self
