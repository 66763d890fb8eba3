"""Measure the peak bytes of tensors, by the log of torch's CPU allocator.

Stage: beside the loop, around one step and the first batches that are scored, which the others
equal. `accounting` predicts the same figure. Not here: the rest of the process (interpreter,
libraries, compiled code, memory that is freed and kept).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# The one log of allocations that costs a step nothing; the newer profiler writes to stderr.
_AUTOGRAD: Any = torch.autograd
_HAS_LOG = hasattr(_AUTOGRAD, "_enable_profiler_legacy")  # a later torch may not

_ALLOCATION = "memory_alloc"


class TensorWatch:
    """Measures a step and evaluations of a model on the CPU, and keeps the highest peak."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        self._peaks: dict[str, int] = {}
        self._num_steps = 0

    @property
    def peak_bytes(self) -> int | None:
        """The highest peak; None: no step was measured, or torch has no log."""
        return max(self._peaks.values()) if "step" in self._peaks else None

    @contextmanager
    def step(self, *, is_full: bool) -> Iterator[None]:
        """Measure the block, an optimizer step, unless one was measured.

        Not the first, which creates the optimizer's state, nor one that is not `is_full`: of the
        full batch.
        """
        self._num_steps += 1
        if self._num_steps == 1 or not is_full or not self._may_watch("step"):
            yield
            return
        # Freed first, as the step does: the log misses releases of what is older than itself.
        self._optimizer.zero_grad(set_to_none=True)
        with self._watched("step"):
            yield

    @contextmanager
    def evaluation(self, what: str) -> Iterator[None]:
        """Measure the block, a batch that is scored, if it is the first of the kind `what`."""
        if not self._may_watch(what):
            yield
            return
        with self._watched(what):
            yield

    def _may_watch(self, what: str) -> bool:
        return _HAS_LOG and not _AUTOGRAD._profiler_enabled() and what not in self._peaks

    @contextmanager
    def _watched(self, what: str) -> Iterator[None]:
        before = _living_bytes(self._model, self._optimizer)
        profiler = _AUTOGRAD.profiler_legacy.profile(profile_memory=True)
        _AUTOGRAD._enable_profiler_legacy(profiler.config())
        records = []
        try:
            yield
        finally:
            records = _AUTOGRAD._disable_profiler_legacy()
        self._peaks[what] = before + _highest(
            event.cpu_memory_usage()
            for thread in records
            for event in thread
            if event.kind() == _ALLOCATION
        )


def _highest(changes: Iterable[int]) -> int:
    """Return the highest running sum.

    >>> _highest([3, 4, -4, 2])
    7
    """
    living = highest = 0
    for change in changes:
        living += change
        highest = max(highest, living)
    return highest


def _living_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of weights, gradients, buffers and optimizer state; shared ones once."""
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [one.grad for one in model.parameters() if one.grad is not None]
    states = optimizer.state.values()
    tensors += [value for state in states for value in state.values() if isinstance(value, Tensor)]
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage() for one in tensors}
    return sum(storage.nbytes() for storage in storages.values())
