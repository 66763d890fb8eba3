"""Predict what a run takes, and compare that with the facts afterwards.

Stage: configuration, plan -> *expectation* -> training -> estimate against fact in the summary.
`accounting` predicts; this applies it to one run and the free memory of its device. Memory means
tensors: the peak of torch's allocator, on CUDA over the whole run, on the CPU in a step and in an
evaluation, with the copy that a save makes. The rest of the process (interpreter, libraries,
compiled code, memory that is freed and kept) is reported separately.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from accounting import ModelShape, StepSettings, count_parameters, evaluation_bytes, memory
from accounting.autograd.layers import FLOAT32
from nn_layers import TransformerLM
from trainer.config.run_config import SMALLEST_VOCABULARY, RunConfig
from trainer.plan.compute import ComputePlan, plan_compute
from trainer.plan.devices import resolve_device
from trainer.plan.file_sizes import model_file_bytes, optimizer_file_bytes, saved_groups
from trainer.plan.learning_rate import learning_rate
from trainer.plan.shape import model_shape
from trainer.plan.step_settings import step_settings
from trainer.plan.tensor_memory import TensorWatch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))
_RESET_PEAK = "5"

BEYOND_DOUBT = 2.0
"""Estimates are a few percent off, never by this factor."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One prediction and the fact."""

    what: str
    expected: float
    found: float | None
    """None: this system does not report it."""
    is_bound: bool = False
    """Whether only an upper bound was expected, so that an error means nothing."""

    @property
    def error(self) -> float | None:
        """Signed, as a share of the fact; None: the fact is unknown, or a bound was expected."""
        return self.expected / self.found - 1 if self.found and not self.is_bound else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What a run is expected to take."""

    peak_memory_bytes: int
    peak_phase: str
    """The phase of a step that has the peak."""
    checkpoint_bytes: int
    """Of the two safetensors files of one checkpoint."""
    free_bytes: int | None
    """Memory that the run may take, including its existing weights; None: unknown."""
    device: torch.device
    start_bytes: int | None
    """Resident memory of the process before the first step, on the CPU; None: unknown."""
    is_bound: bool = False
    """Whether steps are compiled, and keep less than predicted."""
    watch: TensorWatch | None = None
    """Measures on the CPU."""

    @property
    def fits(self) -> bool:
        """Whether the memory is available, as far as is known."""
        return self.free_bytes is None or self.peak_memory_bytes <= self.free_bytes


def expect_run(
    config: RunConfig,
    model: TransformerLM,
    optimizer: torch.optim.Optimizer,
    *,
    plan: ComputePlan,
    device: torch.device,
    validation_tokens: int | None = None,
) -> Expectation:
    """Predict a run, and start watching its memory.

    Args:
        config: the run.
        model: just built, on `device`.
        optimizer: over its parameters, still without state.
        plan: how steps are computed.
        device: where.
        validation_tokens: scored at the end; None: enough to fill a batch.
    """
    shape = model_shape(config, vocab_size=model.config.vocab_size)
    checkpoint = _checkpoint_bytes(config, shape, model, optimizer)
    saving = checkpoint if device.type == "cpu" else 0
    settings = step_settings(config, plan)
    windows = _windows_at_once(config, validation_tokens)
    peak, phase = _peak(shape, settings, windows=windows, saving_bytes=saving)
    weights = FLOAT32 * count_parameters(shape).total
    return Expectation(
        peak_memory_bytes=peak,
        peak_phase=phase,
        checkpoint_bytes=checkpoint,
        free_bytes=_free_bytes(device, already=weights),
        device=device,
        start_bytes=_start_watching(device),
        is_bound=plan.compile,
        watch=TensorWatch(model, optimizer) if device.type == "cpu" else None,
    )


def predict_peak_bytes(config: RunConfig) -> int:
    """Predict the peak memory of a run from its configuration only, on its device.

    The vocabulary is taken to be as large as requested; a compiled step keeps less.
    """
    device = resolve_device(config.device)
    shape = model_shape(config, vocab_size=config.tokenizer.vocab_size)
    saving = 0
    if device.type == "cpu":
        # An optimizer groups parameters by their names and dimensions, whatever their sizes.
        small = replace(config.model, context_length=1, d_model=2 * config.model.num_heads, d_ff=1)
        model = TransformerLM(
            small.build(vocab_size=1), device=torch.device("meta"), dtype=torch.float32
        )
        saving = _checkpoint_bytes(config, shape, model, config.optimizer.build(model))
    settings = step_settings(config, plan_compute(config, device=device))
    windows = _windows_at_once(config, None)
    return _peak(shape, settings, windows=windows, saving_bytes=saving)[0]


def require_memory(config: RunConfig, *, plan: ComputePlan, device: torch.device) -> None:
    """Refuse a step that exceeds the memory of the device by far, whatever the vocabulary."""
    total = device_bytes(device)
    if total is None:
        return
    needed = _least_bytes(config)
    if needed <= total:  # so that accounting can lay it out
        shape = model_shape(config, vocab_size=SMALLEST_VOCABULARY)
        needed = round(memory(shape, step_settings(config, plan)).peak / BEYOND_DOUBT)
    if needed > total:
        model, training = config.model, config.training
        raise ValueError(
            f"model.d-model {model.d_model}, model.num-layers {model.num_layers}, model.d-ff "
            f"{model.d_ff}, model.context-length {model.context_length} and "
            f"training.micro-batch-size {training.micro_batch_size or training.batch_size} take "
            f"more than {gigabytes(needed)} of memory in a step, and {device} has "
            f"{gigabytes(total)} in all; lower them"
        )


def _least_bytes(config: RunConfig) -> int:
    """Return a lower bound: weights with gradients, and one activation in bfloat16."""
    model, training = config.model, config.training
    weights = model.num_layers * model.d_model * (2 * model.d_model + 2 * model.d_ff)
    micro = training.micro_batch_size or training.batch_size
    return 2 * FLOAT32 * weights + 2 * micro * model.context_length * model.d_model


def device_bytes(device: torch.device) -> int | None:
    """Return the whole memory of a device, or of a container on the CPU; None: unknown."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    pages = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
    if any(name not in os.sysconf_names for name in pages):
        return None
    whole, limit = os.sysconf(pages[0]) * os.sysconf(pages[1]), _cgroup_limit()
    return whole if limit is None else min(whole, limit)


def announce_expectation(
    expectation: Expectation, *, is_compiled: bool, say: Callable[[str], None]
) -> None:
    """Report the expectation, and warn if the memory is not available."""
    bound = "at most " if is_compiled else ""
    say(
        f"expected: {bound}{gigabytes(expectation.peak_memory_bytes)} of memory for tensors "
        f"(at {expectation.peak_phase}), beside the libraries' own; "
        f"{gigabytes(expectation.checkpoint_bytes)} per checkpoint"
    )
    if not expectation.fits:
        assert expectation.free_bytes is not None
        say(
            f"warning: {gigabytes(expectation.peak_memory_bytes)} of memory are expected, but "
            f"{gigabytes(expectation.free_bytes)} are free on {expectation.device}; lower "
            "training.micro-batch-size or evaluation.batch-size, or set "
            "training.activation-checkpointing"
        )


def compare_with_facts(expectation: Expectation, checkpoint: Path | None) -> list[Estimate]:
    """Return each prediction beside the fact; `checkpoint` is the newest one's folder, if any."""
    is_cuda = expectation.device.type == "cuda"
    files = [] if checkpoint is None else list(checkpoint.glob("*.safetensors"))
    written = sum(path.stat().st_size for path in files) or None
    return [
        Estimate(
            f"tensors at peak, bytes (torch's {'CUDA' if is_cuda else 'CPU'} allocator)",
            expectation.peak_memory_bytes,
            _allocated_bytes(expectation, written=written),
            is_bound=expectation.is_bound,
        ),
        Estimate("checkpoint, bytes", expectation.checkpoint_bytes, written),
    ]


def process_bytes(expectation: Expectation) -> tuple[int | None, int | None]:
    """Return the resident memory before the first step, and its peak; None: unknown."""
    is_known = expectation.start_bytes is not None
    return expectation.start_bytes, _status("VmHWM") if is_known else None


def _windows_at_once(config: RunConfig, validation_tokens: int | None) -> int:
    """Return how many windows are scored at once: a batch, or all if there are fewer."""
    evaluation = config.evaluation
    if validation_tokens is None:
        return evaluation.batch_size
    whole = validation_tokens // config.model.context_length
    return min(evaluation.batch_size, max(evaluation.num_windows, whole))


def _peak(
    shape: ModelShape, settings: StepSettings, *, windows: int, saving_bytes: int
) -> tuple[int, str]:
    """Return the peak and its phase, with the copy that a save makes while training continues."""
    step = memory(shape, settings)
    scoring = evaluation_bytes(shape, replace(settings, batch_size=windows))
    peak, phase = max((step.peak, step.peak_phase), (scoring, "evaluation"))
    return peak + saving_bytes, phase


def _checkpoint_bytes(
    config: RunConfig, shape: ModelShape, model: TransformerLM, optimizer: torch.optim.Optimizer
) -> int:
    """Return the size of the last checkpoint's two safetensors files."""
    rate = learning_rate(config, config.num_steps)
    groups = saved_groups(shape, model, optimizer, learning_rate=rate)
    return model_file_bytes(shape) + optimizer_file_bytes(groups, config.optimizer.section.cost)


def _allocated_bytes(expectation: Expectation, *, written: int | None) -> int | None:
    """Return the allocator's peak; a save copies as much as it writes."""
    if expectation.device.type == "cuda":
        return torch.cuda.max_memory_allocated(expectation.device)
    peak = None if expectation.watch is None else expectation.watch.peak_bytes
    return None if peak is None or written is None else peak + written


def _start_watching(device: torch.device) -> int | None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return None
    try:
        _CLEAR.write_text(_RESET_PEAK, "ascii")
    except OSError:
        return None
    return _status("VmRSS")


def _free_bytes(device: torch.device, *, already: int) -> int | None:
    """Return the free memory, with that of the model's weights, which exist already."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + already
    pages = ("SC_AVPHYS_PAGES", "SC_PAGE_SIZE")
    if any(name not in os.sysconf_names for name in pages):
        return None
    free = _read_kilobytes(Path("/proc/meminfo"), "MemAvailable")
    free = os.sysconf(pages[0]) * os.sysconf(pages[1]) if free is None else free
    limit = _cgroup_free()
    return (free if limit is None else min(free, limit)) + already


def _cgroup_free() -> int | None:
    """Return what a container's limit leaves; None: there is no limit."""
    limit = _cgroup_limit()
    return None if limit is None else limit - int(_LIMITS[1].read_text("ascii"))


def _cgroup_limit() -> int | None:
    try:
        most, _ = (path.read_text("ascii").strip() for path in _LIMITS)
    except OSError:
        return None
    return None if most == "max" else int(most)


def _status(name: str) -> int | None:
    return _read_kilobytes(_STATUS, name)


def _read_kilobytes(path: Path, name: str) -> int | None:
    """Read a line such as `VmHWM:   123 kB`; None: the system has no such file or line."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(found[0].split()[1]) if found else None


def gigabytes(num_bytes: float) -> str:
    """Format bytes for people."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
