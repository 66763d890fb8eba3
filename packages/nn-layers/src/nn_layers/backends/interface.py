"""Declare what a backend provides: where it runs, its place in `auto`, what it keeps, how it runs.

Stage: registry -> *backend* -> attention, loss. Each file below `attention/` and `loss/` defines a
class `Backend` with one of the two bases here. Not here: which backend is taken (`choice`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nn_layers.backends.projections import Projections
from nn_layers.positions import NoPositions, Positions, RotaryPositionalEmbedding

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is to be computed, and where."""

    device: torch.device
    dtype: torch.dtype
    """Of activations and products."""
    d_head: int
    """Width of a head."""
    positions: type[Positions]


class Backend:
    """One way to compute attention or the loss; the base of both kinds."""

    keeps: ClassVar[str | tuple[str, ...]] = "plain"
    """What stays for the backward pass, in the terms of `accounting.StepSettings`: the name of a
    way that keeps the same, or, for attention, the axes of each float32 tensor beside queries, keys
    and values."""
    is_built_first: ClassVar[bool] = False
    """Whether kernels are compiled before the first use."""

    def rank(self, setting: Setting) -> int | None:
        """Return the place in the order in which `auto` tries backends; None: never."""
        return None

    def why_not(self, setting: Setting) -> str | None:
        """Return why this backend cannot run, or None if it can; builds nothing."""
        return None

    def prepare(self, setting: Setting, say: Say) -> str | None:
        """Build what is needed first, and report it; return why that failed, or None."""
        return None


class AttentionBackend(Backend, ABC):
    """One way to compute causal attention."""

    schemes: ClassVar[tuple[type[Positions], ...] | None] = (NoPositions, RotaryPositionalEmbedding)
    """Position schemes that it knows; None: any, as it adds their bias to the scores."""

    def why_not_positions(self, scheme: type[Positions]) -> str | None:
        """Return why it cannot run with a position scheme, or None if it can."""
        if self.schemes is None or scheme in self.schemes:
            return None
        known = " and ".join(one.name for one in self.schemes)
        return f"it knows the positions {known}, not {scheme.name}"

    def why_not(self, setting: Setting) -> str | None:
        """Return why this backend cannot run, or None if it can; builds nothing."""
        return self.why_not_positions(setting.positions)

    @abstractmethod
    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, *, past: int, bias: Tensor | None = None
    ) -> Tensor:
        """Return the heads, (..., h, t, k), each position seeing itself and those before.

        Args:
            q: (..., h, t, k), rotated by its positions.
            k: (..., h, s, k) with s = past + t.
            v: like `k`.
            past: keys before the first query.
            bias: added to the scores, broadcast to (..., h, t, s); only if `schemes` is None.
        """

    def attend_layer(self, layer: Projections, x: Tensor) -> Tensor | None:
        """Return the heads of a whole window, (..., t, h k), from the layer's input, (..., t, d).

        None: the layer is to project, rotate and call `attend` itself.
        """
        return None


class LossBackend(Backend, ABC):
    """One way to compute head and loss."""

    is_traceable: ClassVar[bool] = False
    """Whether torch.compile can have it in one graph with the model."""

    @abstractmethod
    def score(
        self, hidden: Tensor, weight: Tensor, targets: Tensor, *, is_compiled: bool
    ) -> Tensor:
        """Return () at least float32, the mean loss of `hidden @ weight.T` in nats.

        Args:
            hidden: (..., d) what the head reads.
            weight: (v, d) of the head.
            targets: (...) ids in [0, v).
            is_compiled: whether steps are compiled, so that torch.compile may be used within.
        """
