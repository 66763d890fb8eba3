"""Measure what a training step really allocates.

Stage: shape, settings -> a real step -> *bytes*, from the log of torch's own CPU allocator: every
allocation and release in order, including those inside kernels. Not here: predictions.
"""

from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from accounting import ModelShape, StepSettings
from nn_layers import ModelConfig, TransformerLM
from nn_layers.backends.choice import loss_backends
from optim import AdamW, clip_gradients_, parameter_groups

_MARK = "the backward pass"


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes that a step really allocated."""

    persistent: int
    """Weights, moments and tables, allocated before the step."""
    kept: int
    """Kept by the forward pass for the backward pass, including batch and loss."""
    peak: int
    """The peak."""


def measure_step(shape: ModelShape, settings: StepSettings) -> Measured:
    """Run a step on the CPU and read what its allocator logged.

    The first step is not measured, because the optimizer creates its state in it.
    """
    step = RealStep(shape, settings)
    step.run()
    step.optimizer.zero_grad(set_to_none=True)
    persistent = step.persistent_bytes()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as log:
        step.run()
    assert log.profiler is not None
    assert log.profiler.kineto_results is not None
    live = peak = kept = 0
    for event in sorted(log.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == _MARK and not kept:
            kept = live
        if event.name() == "[memory]":
            # torch's stub lacks it.
            live += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
            peak = max(peak, live)
    return Measured(persistent, kept, persistent + peak)


class RealStep:
    """One optimizer step of `nn_layers` and `optim`, as the trainer takes it."""

    def __init__(self, shape: ModelShape, settings: StepSettings) -> None:
        names = {spec.name for spec in fields(ModelConfig)}
        switches = {name: value for name, value in asdict(shape).items() if name in names}
        torch.manual_seed(0)
        self.model = TransformerLM(ModelConfig(**switches, attention=settings.attention))
        self.model.activation_checkpointing = settings.checkpointing
        self.optimizer = AdamW(parameter_groups(self.model, weight_decay=0.1))
        self._shape, self._settings = shape, settings

    def run(self) -> None:
        """Forward and backward of every micro-batch, then clip and update."""
        self.optimizer.zero_grad(set_to_none=True)
        for _ in range(self._settings.num_micro_batches):
            loss = self.forward()
            with record_function(_MARK):
                loss.backward()
        clip_gradients_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def forward(self) -> Tensor:
        """Return the loss of a random batch."""
        settings, context = self._settings, self._shape.context_length
        size = (settings.batch_size, settings.num_tokens or context)
        inputs, targets = (torch.randint(self._shape.vocab_size, size) for _ in range(2))
        narrow = settings.dtype != "float32"
        with torch.autocast("cpu", dtype=torch.bfloat16) if narrow else nullcontext():
            hidden, loss = self.model.hidden_states(inputs), loss_backends()[settings.loss]
            return loss.score(hidden, self.model.head_weight, targets, is_compiled=False)

    def persistent_bytes(self) -> int:
        """Return the bytes of weights, tables and moments."""
        tensors = {tensor.data_ptr(): tensor for tensor in self.model.state_dict().values()}
        tensors |= {tensor.data_ptr(): tensor for tensor in self.model.buffers()}
        for state in self.optimizer.state.values():
            tensors |= {t.data_ptr(): t for t in state.values() if isinstance(t, Tensor)}
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
