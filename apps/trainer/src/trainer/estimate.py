"""Say what a run will take before it takes it, and afterwards how far off that was.

Stage: configuration, plan -> *expectation* -> training -> estimate against fact in the summary.
`accounting` predicts; here it is asked about this run, on this device, beside what is free. Memory
on CUDA is what torch's allocator had at most; on the CPU it is how far the process grew, which
counts freed memory that the system has not taken back, and compiled kernels.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from accounting import ModelShape, StepSettings, count_parameters, evaluation_bytes, memory
from accounting.disk import Group, default_groups, model_file_bytes, optimizer_file_bytes
from accounting.layers import FLOAT32
from accounting.parameters import Weight
from nn_layers import TransformerLM
from trainer.compute_plan import ComputePlan, plan_compute
from trainer.config import RunConfig
from trainer.devices import resolve_device
from trainer.learning_rate import learning_rate
from trainer.model import model_shape

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))
_RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class Estimate:
    """One prediction and what came of it."""

    what: str
    expected: float
    found: float | None
    """None: this system does not tell."""

    @property
    def error(self) -> float | None:
        """Signed, as a share of what was found."""
        return self.expected / self.found - 1 if self.found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What a run is expected to take."""

    peak_memory_bytes: int
    peak_phase: str
    """When that is."""
    checkpoint_bytes: int
    """Of the two safetensors files of one checkpoint."""
    free_bytes: int | None
    """Memory that the run may take, weights that are there already included; None: unknown."""
    device: torch.device
    start_bytes: int | None
    """Where the process stood before the first step, weights left out; CPU alone."""

    @property
    def fits(self) -> bool:
        """Whether the memory is there, as far as is known."""
        return self.free_bytes is None or self.peak_memory_bytes <= self.free_bytes


def expect_run(
    config: RunConfig,
    model: TransformerLM,
    optimizer: torch.optim.Optimizer,
    *,
    plan: ComputePlan,
    device: torch.device,
) -> Expectation:
    """Predict a run, and start watching its memory.

    Args:
        config: the run.
        model: just built, on `device`.
        optimizer: over its parameters, still without state.
        plan: how steps are computed.
        device: where.
    """
    shape = model_shape(config, vocab_size=model.config.vocab_size)
    groups = _groups(model, optimizer, last=learning_rate(config, config.num_steps))
    checkpoint = model_file_bytes(shape) + optimizer_file_bytes(groups, config.optimizer.name)
    saving = checkpoint if device.type == "cpu" else 0
    peak, phase = _peak(config, shape, step_settings(config, plan), saving_bytes=saving)
    weights = FLOAT32 * count_parameters(shape).total
    return Expectation(
        peak_memory_bytes=peak,
        peak_phase=phase,
        checkpoint_bytes=checkpoint,
        free_bytes=_free_bytes(device, already=weights),
        device=device,
        start_bytes=_start_watching(device, already=weights),
    )


def predict_peak_bytes(config: RunConfig) -> int:
    """Predict the most memory of a run that is not there yet, on the device that it names.

    The vocabulary is taken to be as large as was asked for; a compiled step keeps less.

    Raises:
        ValueError: the configuration cannot run here.
    """
    device = resolve_device(config.device)
    shape = model_shape(config, vocab_size=config.tokenizer.vocab_size)
    saving, name = 0, config.optimizer.name
    if device.type == "cpu":
        groups = default_groups(shape, name, learning_rate=config.optimizer.learning_rate)
        saving = model_file_bytes(shape) + optimizer_file_bytes(groups, name)
    settings = step_settings(config, plan_compute(config, device=device))
    return _peak(config, shape, settings, saving_bytes=saving)[0]


def device_bytes(device: torch.device) -> int | None:
    """Return the memory that a device has in all, taken or not; None: the system does not say.

    On the CPU that is the machine's, or less where a container has a limit.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    pages = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
    if any(name not in os.sysconf_names for name in pages):
        return None
    whole, limit = os.sysconf(pages[0]) * os.sysconf(pages[1]), _cgroup_limit()
    return whole if limit is None else min(whole, limit)


def step_settings(config: RunConfig, plan: ComputePlan) -> StepSettings:
    """Return how the run's steps are computed, in accounting's words."""
    training = config.training
    micro = training.micro_batch_size or training.batch_size
    return StepSettings(
        batch_size=micro,
        num_micro_batches=training.batch_size // micro,
        dtype="float32" if plan.dtype == torch.float32 else "bfloat16",
        # The own kernels keep what torch's does.
        attention="fused" if plan.attention in ("native", "triton") else plan.attention,
        loss="chunked" if plan.loss == "native" else plan.loss,
        checkpointing=training.activation_checkpointing,
        optimizer=config.optimizer.name,
    )


def announce_expectation(
    expectation: Expectation, *, is_compiled: bool, say: Callable[[str], None]
) -> None:
    """Say what is expected, and warn where the memory is not there."""
    bound = "at most " if is_compiled else ""
    say(
        f"expected: {bound}{gigabytes(expectation.peak_memory_bytes)} of memory "
        f"(at {expectation.peak_phase}), {gigabytes(expectation.checkpoint_bytes)} a checkpoint"
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
    """Return each prediction beside what came of it.

    Args:
        expectation: from before the first step.
        checkpoint: the newest checkpoint's folder, if there is one.
    """
    is_cuda = expectation.device.type == "cuda"
    files = [] if checkpoint is None else list(checkpoint.glob("*.safetensors"))
    return [
        Estimate(
            f"peak memory, bytes ({'allocated' if is_cuda else 'growth of the process'})",
            expectation.peak_memory_bytes,
            _peak_of(expectation),
        ),
        Estimate(
            "checkpoint, bytes",
            expectation.checkpoint_bytes,
            sum(path.stat().st_size for path in files) or None,
        ),
    ]


def _peak(
    config: RunConfig, shape: ModelShape, settings: StepSettings, *, saving_bytes: int
) -> tuple[int, str]:
    """Return the peak and its phase, with what a save copies while training goes on."""
    step = memory(shape, settings)
    scoring = evaluation_bytes(shape, replace(settings, batch_size=config.evaluation.batch_size))
    peak, phase = max((step.peak, step.peak_phase), (scoring, "evaluation"))
    return peak + saving_bytes, phase


def _groups(model: TransformerLM, optimizer: torch.optim.Optimizer, *, last: float) -> list[Group]:
    """Return the optimizer's groups in accounting's words, with the last step's learning rate."""
    names = {id(one): name.removesuffix(".weight") for name, one in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        weights = [Weight(names[id(one)], tuple(one.shape)) for one in group["params"]]
        settings = {key: value for key, value in group.items() if key != "params"}
        settings["lr"] = last * group.get("peak_ratio", 1.0)
        groups.append(Group(weights, settings))
    return groups


def _peak_of(expectation: Expectation) -> int | None:
    if expectation.device.type == "cuda":
        return torch.cuda.max_memory_allocated(expectation.device)
    highest = _status("VmHWM")
    if highest is None or expectation.start_bytes is None:
        return None
    return highest - expectation.start_bytes


def _start_watching(device: torch.device, *, already: int) -> int | None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return None
    try:
        _CLEAR.write_text(_RESET_PEAK, "ascii")
    except OSError:
        return None
    now = _status("VmRSS")
    return None if now is None else now - already


def _free_bytes(device: torch.device, *, already: int) -> int | None:
    """Return the memory that is free, with what the model's weights take of it already."""
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
    """Return what a container's limit leaves; None where there is no limit."""
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
    """Read a line such as `VmHWM:   123 kB`; None where the system has no such file or line."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(found[0].split()[1]) if found else None


def gigabytes(num_bytes: float) -> str:
    """Write bytes the way people read them."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
