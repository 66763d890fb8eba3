"""Predict the memory of a training step tensor by tensor, and its peak.

Stage: shape, settings -> *bytes* -> does it fit? It counts the tensors that torch allocates in
eager mode. Not here: the context of a GPU driver, fragmentation, workspaces of matrix products, and
`torch.compile`, which keeps less.
"""

from collections import Counter
from dataclasses import dataclass, replace

from accounting.autograd.layers import FLOAT32, INT64, TracedModel, legend
from accounting.autograd.losses import traced_loss
from accounting.autograd.tape import Line, Tape, Value
from accounting.optimizer import optimizer_cost
from accounting.parameters import count_parameters
from accounting.shape import ModelShape
from accounting.step import StepSettings, UpdateRule, find_optimizer

_WORKSPACE = "optimizer: workspace"


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes of one training step."""

    weights: int
    gradients: int
    """Gradients of all parameters, once they exist."""
    optimizer_state: int
    activations: int
    """Kept for the backward pass when the forward pass ends."""
    peak: int
    """The maximum that is alive at once."""
    peak_phase: str
    """Phase of the peak, e.g. "backward: loss"."""
    kept_lines: tuple[Line, ...]
    """The activations, tensor by tensor."""
    peak_lines: tuple[Line, ...]
    """Everything alive at the peak, tensor by tensor."""


def memory(shape: ModelShape, settings: StepSettings | None = None) -> Memory:
    """Predict the memory of a training step after the first; by default of one window.

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
    """Return only the peak."""
    step = _Step(shape, settings)
    step.run()
    return step.tape.peak_bytes


class _Step:
    def __init__(
        self, shape: ModelShape, settings: StepSettings, *, snapshot_at: int | None = None
    ) -> None:
        self._settings, self._optimizer = settings, find_optimizer(settings.optimizer)
        self.tape = Tape(legend(shape, settings), snapshot_at=snapshot_at)
        self._model = TracedModel(shape, settings, self.tape)
        before = self.tape.live_bytes
        self._state = [
            self.tape.allocate("optimizer: moments", weight.dims, FLOAT32)
            for weight in self._model.weights
            for _ in self._rule(weight).state
        ]
        self.state_bytes = self.tape.live_bytes - before
        self.kept_bytes = 0
        self.kept_lines: list[Line] = []

    def run(self) -> None:
        tape = self.tape
        for index in range(min(self._settings.num_micro_batches, 2)):  # the others equal the second
            before, persistent = tape.live_bytes, tape.lines()
            loss = traced_loss(self._model, self._settings.loss)
            if index == 0:
                self.kept_bytes = tape.live_bytes - before
                self.kept_lines = _difference(tape.lines(), persistent)
            tape.backward(loss)
            del loss
        self._update()

    def _rule(self, weight: Value) -> UpdateRule:
        is_hidden = len(weight.dims.split()) > 1 and weight.dims not in ("v d", "c d")
        return self._optimizer.rule_of(is_hidden=is_hidden)

    def _update(self) -> None:
        tape, rules = self.tape, [(one, self._rule(one)) for one in self._model.weights]
        tape.enter("update", direction="")
        self._orthogonalize([one for one, rule in rules if rule.is_orthogonalized])
        for one, rule in rules:
            passing = [tape.allocate(_WORKSPACE, one.dims, FLOAT32) for _ in range(rule.workspace)]
            del passing

    def _orthogonalize(self, hidden: list[Value]) -> None:
        """Hold directions of all matrices, then stack those of one shape at a time."""
        tape = self.tape
        directions = [tape.allocate("optimizer: directions", one.dims, FLOAT32) for one in hidden]
        alike = Counter(_matrix(tape, one.dims) for one in hidden)
        updates = None  # those of one shape outlive the products of the next
        for (rows, columns), count in alike.items():
            m = min(rows, columns)
            stack, square = f"{count} {rows} {columns}", f"{count} {m} {m}"
            passing = [tape.allocate(_WORKSPACE, stack, FLOAT32) for _ in range(3)]
            passing += [tape.allocate(_WORKSPACE, square, FLOAT32) for _ in range(2)]
            updates = passing[0]
            del passing
        del directions, updates


def _matrix(tape: Tape, dims: str) -> tuple[int, int]:
    """Return rows and columns; d alone stands for one side of every hidden matrix."""
    width = tape.size("d")
    other = tape.size(dims) // width
    return (width, other) if dims.startswith("d") else (other, width)


def _difference(lines: list[Line], earlier: list[Line]) -> list[Line]:
    known = {(line.label, line.dims, line.itemsize) for line in earlier}
    return [line for line in lines if (line.label, line.dims, line.itemsize) not in known]


def largest_batch(shape: ModelShape, settings: StepSettings, *, memory_bytes: int) -> int:
    """Return the largest number of windows per pass that fits; 0 if not even one does.

    The batch size in `settings` is ignored.
    """

    def fits(batch_size: int) -> bool:
        return _peak_at(shape, settings, batch_size) <= memory_bytes

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class LinearInBatch:
    """The peak as a * batch + b bytes, from some batch size on."""

    bytes_per_window: int
    constant_bytes: int
    from_batch: int
    """Below it another moment of the step is the peak."""


def linear_in_batch(shape: ModelShape, settings: StepSettings) -> LinearInBatch:
    """Return a and b of the peak for large batches.

    Every tensor either grows with the batch or does not. So the sum at each moment of a step is
    linear in the batch, and for large batches the steepest line is the peak.
    """
    far = 1 << 20
    at_far = _peak_at(shape, settings, far)
    slope = _peak_at(shape, settings, far + 1) - at_far
    constant = at_far - slope * far
    first = 1
    while _peak_at(shape, settings, first) != slope * first + constant:
        first *= 2
    return LinearInBatch(slope, constant, first)


def _peak_at(shape: ModelShape, settings: StepSettings, batch_size: int) -> int:
    return peak_bytes(shape, replace(settings, batch_size=batch_size))


def evaluation_bytes(shape: ModelShape, settings: StepSettings) -> int:
    """Return the peak while windows are scored between two steps.

    The batch size in `settings` is the number of windows scored at once.

    Nothing is kept for a backward pass, but weights, gradients and moments stay, and all logits of
    a batch are alive at once.
    """
    tape = Tape(legend(shape, settings))
    model = TracedModel(shape, settings, tape)
    tape.is_recording = False
    ids = [tape.allocate("token ids", "b t", INT64) for _ in range(2)]
    logits = model.logits(model.hidden_states(ids[0]))
    rows = [tape.allocate("a window's logits", "t v", FLOAT32) for _ in range(2)]
    del logits, rows
    cost = optimizer_cost(shape, settings.optimizer)
    return tape.peak_bytes + cost.state_bytes + FLOAT32 * count_parameters(shape).total
