"""Notice losses and gradients that are no numbers, or leap; find out where it began.

Stage: beside the loop. A step whose loss or gradient is not finite makes no update (`step.py`). How
many there were is counted on the device, so that nobody waits for it between logging points. Not
here: what the run does about it (`loop.py`).
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from statistics import fmean, pstdev

import torch
from torch import Tensor, nn

SPIKE_LOGGED = 20
"""Logged losses that must be known before one can be a spike; at most twice as many are kept."""
SPIKE_DEVIATIONS = 6.0
"""How far above their mean a spike is, in their standard deviations ..."""
SPIKE_NATS = 0.1
"""... and in nats at least."""


class SkippedSteps:
    """Counts the steps that made no update, without waiting for the device.

    >>> skipped = SkippedSteps(torch.device("cpu"))
    >>> for loss in (2.0, float("nan"), float("inf")):
    ...     skipped.note(torch.tensor(loss), torch.tensor(1.0))
    >>> skipped.read()
    (2, 2)
    """

    def __init__(self, device: torch.device) -> None:
        self._in_row = torch.zeros((), dtype=torch.int64, device=device)
        self._in_all = torch.zeros((), dtype=torch.int64, device=device)

    def note(self, loss: Tensor, grad_norm: Tensor) -> None:
        """Count a step by what it left on the device."""
        is_skipped = ~is_sound(loss, grad_norm)
        self._in_row = torch.where(is_skipped, self._in_row + 1, 0)
        self._in_all = self._in_all + is_skipped

    def read(self) -> tuple[int, int]:
        """Return how many there were in a row up to now, and in all; waits for the device."""
        return int(self._in_row), int(self._in_all)


class LossSpikes:
    """Remembers the last logged losses, and tells when one leaps out of them."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=2 * SPIKE_LOGGED)

    def height(self, loss: float) -> float | None:
        """Take a loss; return by how many nats it leaps above those before; None: it doesn't."""
        if not math.isfinite(loss):
            return None
        known = list(self._losses)
        self._losses.append(loss)
        if len(known) < SPIKE_LOGGED:
            return None
        height = loss - fmean(known)
        return height if height > max(SPIKE_DEVIATIONS * pstdev(known), SPIKE_NATS) else None


def is_sound(loss: Tensor, grad_norm: Tensor) -> Tensor:
    """Whether an update may be made, on the device: () bool."""
    return torch.isfinite(loss) & torch.isfinite(grad_norm)


def find_not_finite(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss_of: Callable[[Tensor, Tensor], Tensor],
) -> str:
    """Compute a step again and say which tensor is the first that is not finite.

    Weights come first, then what modules put out in the order of the computation, then gradients
    in the order of backward.

    Args:
        model: with the weights of before the step; its gradients are overwritten.
        batches: inputs and targets of the step's micro-batches.
        loss_of: of inputs and targets; runs `model`'s modules.
    """
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"the weight {name}"
    for inputs, targets in batches:
        model.zero_grad(set_to_none=True)
        with _first_output(model) as found:
            loss = loss_of(inputs, targets)
        if found:
            return f"the output of {found[0]}"
        if not loss.isfinite():
            return "the loss itself"
        loss.backward()
        for name, parameter in reversed(list(model.named_parameters())):
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                return f"the gradient of {name}"
    return "none, when the step was computed again"


@contextmanager
def _first_output(model: nn.Module) -> Iterator[list[str]]:
    """Collect the names of modules whose output is not finite, in the order they run."""
    found: list[str] = []

    def look(name: str, output: object) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            found.append(name)

    handles = [
        module.register_forward_hook(lambda _m, _i, output, name=name: look(name, output))
        for name, module in model.named_modules()
        if name and not list(module.children())
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
