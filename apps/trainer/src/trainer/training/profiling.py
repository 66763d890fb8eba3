"""Measure where the time of a step goes, beside the least that it could take on this machine.

Stage: beside the loop, for `train --profile`. A few early steps are recorded, after those that
compile and warm up; then the run continues. Floors follow from measurements on this machine:
products at the speed of one large product, the update at the speed of a copy. The rest (norms,
activations, softmax, loss, copies) has no floor: perfectly fused, it would overlap with the
products. Not here: memory (`accounting`), the loop's time between steps (`throughput.py`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

from accounting import training_flops
from trainer.config.run_config import RunConfig
from trainer.plan.devices import wait_for
from trainer.plan.shape import model_shape
from trainer.storage.durable import TEMPORARY, rename_durably, sync_file
from trainer.storage.run_directory import RunDirectory, write_text_atomically
from trainer.training.learner import Learner
from trainer.training.step import StepResult

FIRST_STEP, NUM_STEPS = 5, 3
"""Which steps of a sitting are recorded, counted from 1."""
LAST_STEP = FIRST_STEP + NUM_STEPS - 1

_PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "mkldnn", "gemm", "nvjet")
_UPDATE_BYTES = 28
"""A float32 weight's update reads weight, gradient and both averages, and writes three of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Floors:
    """The least seconds that parts of a step could take."""

    products: float
    update: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """Seconds of one step, by part."""

    step: float
    products: float
    update: float

    def table(self, floors: Floors) -> str:
        """Return the parts beside their floors, for people.

        >>> times = StepTimes(step=2.0, products=1.2, update=0.2)
        >>> print(times.table(Floors(products=0.9, update=0.1)))
        part                      ms    share      floor ms
        matrix products       1200.0    60.0%         900.0
        update                 200.0    10.0%         100.0
        everything else        600.0    30.0%           0.0
        step                  2000.0   100.0%        1000.0
        """
        rest = max(0.0, self.step - self.products - self.update)
        rows = (
            ("matrix products", self.products, floors.products),
            ("update", self.update, floors.update),
            ("everything else", rest, 0.0),
            ("step", self.step, floors.products + floors.update),
        )
        lines = [f"{'part':<18}{'ms':>10}{'share':>9}{'floor ms':>14}"]
        lines += [
            f"{name:<18}{1e3 * seconds:>10.1f}{seconds / self.step:>9.1%}{1e3 * floor:>14.1f}"
            for name, seconds, floor in rows
        ]
        return "\n".join(lines)


class ProfilingStepper:
    """Takes a learner's steps, records some of them, and writes trace and table to RUN/profile."""

    def __init__(
        self, run: RunDirectory, config: RunConfig, learner: Learner, *, say: Callable[[str], None]
    ) -> None:
        self._folder, self._config, self._say = run.path / "profile", config, say
        self._learner, self._stepper, self._device = learner, learner.stepper, learner.device
        self._profiler: profile | None = None
        self._count, self._seconds = 0, 0.0

    def step(self, step: int, learning_rate: float) -> StepResult:
        """Update the model as the stepper does."""
        self._count += 1
        if not FIRST_STEP <= self._count <= LAST_STEP:
            return self._stepper.step(step, learning_rate)
        if self._profiler is None:
            wait_for(self._device)
            activities = [ProfilerActivity.CPU]
            activities += [ProfilerActivity.CUDA] if self._device.type == "cuda" else []
            self._profiler = profile(activities=activities)
            self._profiler.start()
        start = time.monotonic()
        result = self._stepper.step(step, learning_rate)
        wait_for(self._device)
        self._seconds += time.monotonic() - start
        if self._count == LAST_STEP:
            self._finish(self._profiler, num_windows=self._config.batch_size_at(step))
        return result

    def _finish(self, profiler: profile, *, num_windows: int) -> None:
        profiler.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        trace = self._folder / "trace.json"
        beside = trace.with_name(trace.name + TEMPORARY)
        profiler.export_chrome_trace(str(beside))
        sync_file(beside)
        rename_durably(beside, trace)
        # Measured now, under the same load.
        floors = _measure_floors(self._learner, self._config, num_windows=num_windows)
        table = _step_times(profiler, self._seconds).table(floors)
        write_text_atomically(self._folder / "table.txt", table + "\n")
        for line in table.splitlines():
            self._say(line)
        self._say(f"trace of {NUM_STEPS} steps, for chrome://tracing or ui.perfetto.dev: {trace}")


def require_profiled_steps(num_steps: int) -> None:
    """Refuse to profile a sitting that ends before the steps that are recorded."""
    if num_steps < LAST_STEP:
        raise ValueError(
            f"--profile records steps {FIRST_STEP} to {LAST_STEP} of a sitting, but {num_steps} "
            "are left; raise training.max-steps"
        )


def _measure_floors(learner: Learner, config: RunConfig, *, num_windows: int) -> Floors:
    """Return the floors of a step on this machine, measured now."""
    device, dtype = learner.device, learner.plan.dtype
    shape = model_shape(config, vocab_size=learner.model.config.vocab_size)
    flops = training_flops(shape, num_tokens=num_windows * config.model.context_length)
    size = 8192 if device.type == "cuda" else 2048
    left, right = (
        torch.randn(size, size, dtype=torch.float32, device=device).to(dtype) for _ in range(2)
    )
    seconds = _best_seconds(lambda: left @ right, device)
    # 64 MiB: larger than caches.
    source = torch.empty(2**26 // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    copy_seconds = _best_seconds(lambda: target.copy_(source), device)
    bytes_per_second = 2 * source.numel() * source.element_size() / copy_seconds
    return Floors(
        products=flops * seconds / (2 * size**3),
        update=_UPDATE_BYTES * learner.model.num_parameters / bytes_per_second,
    )


def _best_seconds(work: Callable[[], object], device: torch.device) -> float:
    best = float("inf")
    for _ in range(6):
        start = time.monotonic()
        work()
        wait_for(device)
        best = min(best, time.monotonic() - start)
    return best


def _step_times(profiler: profile, seconds: float) -> StepTimes:
    events = profiler.key_averages()
    products = sum(
        max(event.self_cpu_time_total, event.self_device_time_total)
        for event in events
        if any(word in event.key for word in _PRODUCTS)
    )
    update = sum(
        max(event.cpu_time_total, event.device_time_total)
        for event in events
        if event.key.startswith("Optimizer.step#")
    )
    micro = 1e-6 / NUM_STEPS
    return StepTimes(step=seconds / NUM_STEPS, products=products * micro, update=update * micro)
