"""Take whole optimizer steps on the device: one CUDA graph from the windows to the weights.

Stage: tokens on the device -> *step* -> loss and gradient norm on the device. Windows, forward,
loss, backward, clipping and update are the same code with and without a graph, on a GPU and on the
CPU; the host only writes the number of the step and its learning rate. The plain twin is
`step.EagerStepper` with `AdamW`.
"""

from collections.abc import Callable, Sequence

import torch

from nn_layers import TransformerLM
from optim import AdamW, FlatAdamW
from trainer.data.device_batches import WindowSource
from trainer.plan.compute import ComputePlan
from trainer.plan.learning_rate import set_learning_rate
from trainer.training.compute_twin import compute_twin
from trainer.training.model_loss import LossOf, build_loss
from trainer.training.step import StepResult

WARM_UP_STEPS = 3
"""Steps before capture, for each way to cut the batch: kernels compile, workspaces appear."""
HISTORY_STEPS = 1024
"""Steps whose loss and norm stay readable on the device."""

MicroBatches = Callable[[int], Sequence[range]]
"""Step counted from 1 -> indices of the windows of each forward and backward."""


class DeviceStepper:
    """Makes updates with `FlatAdamW`, captured as a CUDA graph where the plan compiles.

    The first step moves the model's weights and the optimizer's state into flat buffers; load a
    checkpoint before it. Warm-up steps are steps of the run like any other. If a gradient is not
    finite, no update is made, and loss and norm are nan. A plan that compiles on a CUDA device also
    captures.
    """

    def __init__(
        self,
        model: TransformerLM,
        optimizer: AdamW,
        *,
        windows: WindowSource,
        micro_batches: MicroBatches,
        plan: ComputePlan,
        max_norm: float,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._windows, self._micro_batches = windows, micro_batches
        self._max_norm, self._plan = max_norm, plan
        self._device = next(model.parameters()).device
        self._program: _Program | None = None
        is_captured = plan.compile and self._device.type == "cuda"
        self._runner = _GraphRunner(self._device) if is_captured else _run

    def step(self, step: int, learning_rate: float) -> StepResult:
        """Update the model on the windows of `step`, counted from 1, without waiting."""
        program = self._program
        if program is None:
            program = self._program = self._build()
        elif not program.flat.is_current():
            raise ValueError(
                "weights or optimizer state were replaced after the first step; load a checkpoint "
                "before it, or build another stepper"
            )
        batches = tuple(self._micro_batches(step))
        self._windows.prepare(step - 1, sum(map(len, batches)))
        program.step.fill_(step - 1)
        program.flat.learning_rate.fill_(learning_rate)
        self._runner(program, batches)
        set_learning_rate(self._optimizer, learning_rate)
        self._windows.prefetch(step, sum(map(len, self._micro_batches(step + 1))))
        loss, norm = program.history[(step - 1) % HISTORY_STEPS].unbind()
        return StepResult(loss, norm)

    def _build(self) -> "_Program":
        is_narrow = self._plan.dtype != torch.float32
        flat = FlatAdamW(
            self._optimizer,
            copy_dtype=self._plan.dtype if is_narrow else None,
            compiled=self._plan.compile,
        )
        twin, leaves = compute_twin(self._model, flat, dtype=self._plan.dtype)
        return _Program(
            loss_of=build_loss(twin, plan=self._plan, device=self._device, is_captured=True),
            leaves=leaves,
            flat=flat,
            windows=self._windows,
            max_norm=self._max_norm,
        )


class _Program:
    """All tensors that a step reads and writes, and the step itself."""

    def __init__(
        self,
        *,
        loss_of: LossOf,
        leaves: Sequence[torch.nn.Parameter],
        flat: FlatAdamW,
        windows: WindowSource,
        max_norm: float,
    ) -> None:
        self.flat = flat
        device = flat.values.device
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self.history = torch.zeros(HISTORY_STEPS, 2, dtype=torch.float32, device=device)
        self._loss_of, self._leaves = loss_of, leaves
        self._windows, self._max_norm = windows, max_norm

    def run(self, batches: Sequence[range]) -> None:
        """Make one update; kernels only, no value is read."""
        num_windows = sum(map(len, batches))
        total = torch.zeros((), dtype=torch.float32, device=self.step.device)
        for number, indices in enumerate(batches):
            loss = self._loss_of(*self._windows.cut(self.step, indices))
            # Each micro-batch weighs by its windows: the sum is the mean over the whole batch.
            share = loss * (len(indices) / num_windows)
            self.flat.collect(torch.autograd.grad(share, self._leaves), add=number > 0)
            total = total + share.detach()
        norm = self.flat.update(self._max_norm)
        outcome = torch.stack((total, norm))
        outcome = torch.where(self.flat.is_sound, outcome, torch.nan)
        self.history.index_copy_(0, (self.step % HISTORY_STEPS)[None], outcome[None])


def _run(program: _Program, batches: tuple[range, ...]) -> None:
    program.run(batches)


class _GraphRunner:
    """Runs a program a few times on a side stream, then captures it once and replays it.

    Each way to cut a batch, as in a ramp, has its own graph; all share their memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[tuple[range, ...], torch.cuda.CUDAGraph] = {}
        self._runs: dict[tuple[range, ...], int] = {}

    def __call__(self, program: _Program, batches: tuple[range, ...]) -> None:
        with torch.cuda.device(self._device):
            graph = self._graphs.get(batches)
            if graph is None:
                done = self._runs[batches] = self._runs.get(batches, 0) + 1
                if done <= WARM_UP_STEPS:
                    self._warm_up(program, batches)
                    return
                graph = self._graphs[batches] = self._capture(program, batches)
            graph.replay()

    def _warm_up(self, program: _Program, batches: tuple[range, ...]) -> None:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            program.run(batches)
        current.wait_stream(self._stream)

    def _capture(self, program: _Program, batches: tuple[range, ...]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile, for instance to save a checkpoint.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            program.run(batches)
        return graph
