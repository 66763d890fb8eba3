"""Predict the memory of a training step: what lives when, tensor by tensor, and the most at once.

Stage: shape, settings -> *bytes* -> does it fit? Counted are the tensors that torch allocates in
eager mode. Not here: the context of a GPU driver, fragmentation, workspaces of matrix products, and
`torch.compile`, which keeps less.
"""

from dataclasses import dataclass, replace

from accounting.layers import FLOAT32, TracedModel, legend
from accounting.losses import traced_loss
from accounting.parameters import count_parameters
from accounting.shape import ModelShape
from accounting.step import Optimizer, StepSettings
from accounting.tape import Line, Tape

_MOMENTS: dict[Optimizer, int] = {"adamw": 2, "muon": 1, "sgd": 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes of one training step."""

    weights: int
    gradients: int
    """Of all parameters, once they are there."""
    optimizer_state: int
    activations: int
    """Kept for the backward pass when the forward pass ends."""
    peak: int
    """The most that lives at once."""
    peak_phase: str
    """When that is, e.g. "backward: loss"."""
    kept_lines: tuple[Line, ...]
    """The activations, tensor by tensor."""
    peak_lines: tuple[Line, ...]
    """All that lives at the peak, tensor by tensor."""


def memory(shape: ModelShape, settings: StepSettings | None = None) -> Memory:
    """Predict the memory of a training step after the first.

    Args:
        shape: the model.
        settings: how the step is computed; None: the defaults, one window.

    >>> from accounting import PRESETS
    >>> small = memory(PRESETS["gpt2-small"])
    >>> small.optimizer_state == 2 * small.weights
    True
    """
    settings = settings or StepSettings()
    first = _Step(shape, settings)
    first.run()
    second = _Step(shape, settings, snapshot_at=first.tape.peak_at)
    second.run()
    weights = FLOAT32 * count_parameters(shape).total
    return Memory(
        weights=weights,
        gradients=weights,
        optimizer_state=first.state_bytes,
        activations=first.kept_bytes,
        peak=first.tape.peak_bytes,
        peak_phase=first.tape.peak_phase,
        kept_lines=tuple(first.kept_lines),
        peak_lines=tuple(second.tape.snapshot),
    )


def peak_bytes(shape: ModelShape, settings: StepSettings) -> int:
    """Return the peak alone."""
    step = _Step(shape, settings)
    step.run()
    return step.tape.peak_bytes


class _Step:
    """One optimizer step on a tape."""

    def __init__(
        self, shape: ModelShape, settings: StepSettings, *, snapshot_at: int | None = None
    ) -> None:
        self._settings = settings
        self.tape = Tape(legend(shape, settings), snapshot_at=snapshot_at)
        self._model = TracedModel(shape, settings, self.tape)
        before = self.tape.live_bytes
        self._state = self._moments()
        self.state_bytes = self.tape.live_bytes - before
        self.kept_bytes = 0
        self.kept_lines: list[Line] = []

    def run(self) -> None:
        """Run micro-batch after micro-batch, then the update."""
        tape = self.tape
        for index in range(min(self._settings.num_micro_batches, 2)):  # the others equal the second
            before, persistent = tape.live_bytes, tape.lines()
            loss = traced_loss(self._model, self._settings.loss)
            if index == 0:
                self.kept_bytes = tape.live_bytes - before
                self.kept_lines = _difference(tape.lines(), persistent)
            tape.backward(loss)
            del loss
        tape.enter("update", direction="")
        for weight in self._model.weights:
            self._update(weight.dims)

    def _moments(self) -> list[object]:
        tape, optimizer = self.tape, self._settings.optimizer
        state: list[object] = []
        for weight in self._model.weights:
            count = _MOMENTS[optimizer]
            state += [
                tape.allocate("optimizer: moments", weight.dims, FLOAT32) for _ in range(count)
            ]
        return state

    def _update(self, dims: str) -> None:
        """The root of the second moment, and its quotient."""
        if self._settings.optimizer == "adamw":
            passing = [self.tape.allocate("optimizer: workspace", dims, FLOAT32) for _ in range(2)]
            del passing


def _difference(lines: list[Line], earlier: list[Line]) -> list[Line]:
    known = {(line.label, line.dims, line.itemsize) for line in earlier}
    return [line for line in lines if (line.label, line.dims, line.itemsize) not in known]


def largest_batch(shape: ModelShape, settings: StepSettings, *, memory_bytes: int) -> int:
    """Return the most windows of one pass that fit; 0: not even one does.

    Args:
        shape: the model.
        settings: its batch size is ignored.
        memory_bytes: what there is.
    """

    def fits(batch_size: int) -> bool:
        return peak_bytes(shape, replace(settings, batch_size=batch_size)) <= memory_bytes

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
