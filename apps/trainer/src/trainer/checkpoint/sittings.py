"""Record how each sitting of a run computed, and report where that changed.

Stage: plan, device -> *sittings.jsonl* -> summary. `config.toml` holds the latest request; this
holds how each part of the run was computed. A sitting whose steps were all repeated, because no
checkpoint kept them, is dropped.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

import torch

from trainer.config.run_config import RunConfig
from trainer.plan.compute import ComputePlan
from trainer.plan.devices import device_name
from trainer.storage.durable import write_atomically
from trainer.storage.file_format import require_format

FORMAT, VERSION = "trainer.sitting", 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Sitting:
    """How the steps from one start of a run to the next were computed."""

    step: int
    """Updates made before it."""
    device: str
    """The vendor's name, or cpu."""
    dtype: str
    attention: str
    loss: str
    compiled: bool
    micro_batch_size: int
    activation_checkpointing: bool
    deterministic: bool | None
    """None: on the CPU, which always is."""
    threads: int | None
    """Of the CPU; None: another device."""
    instructions: str | None
    """Those of the CPU that torch's own kernels use; None: another device."""
    torch: str
    """Version."""


def describe_sitting(
    config: RunConfig, plan: ComputePlan, *, device: torch.device, step: int
) -> Sitting:
    """Return how a run is about to compute after `step` updates."""
    training, is_cpu = config.training, device.type == "cpu"
    return Sitting(
        step=step,
        device=device_name(device),
        dtype=str(plan.dtype).removeprefix("torch."),
        attention=plan.attention,
        loss=plan.loss,
        compiled=plan.compile,
        micro_batch_size=training.micro_batch_size or training.batch_size,
        activation_checkpointing=training.activation_checkpointing,
        deterministic=None if is_cpu else config.deterministic,
        threads=torch.get_num_threads() if is_cpu else None,
        instructions=torch.backends.cpu.get_cpu_capability() if is_cpu else None,
        torch=str(torch.__version__),
    )


def record_sitting(path: Path, sitting: Sitting, *, say: Callable[[str], None]) -> None:
    """Add a sitting to those whose steps it continues, and report how it differs from the last."""
    if sitting.step and not path.exists():
        say(f"{path} is missing: the record of earlier steps is lost")
    earlier = read_sittings(path) if path.exists() else []
    kept = [*(one for one in earlier if one.step < sitting.step), sitting]
    lines = (
        json.dumps({**asdict(one), "format": FORMAT, "version": VERSION}) + "\n" for one in kept
    )
    write_atomically(path, ["".join(lines).encode()])
    for line in describe_changes(kept[-2:]):
        say(line)


def read_sittings(path: Path) -> list[Sitting]:
    """Read all sittings, in order."""
    try:
        documents = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for document in documents:
            require_format(document, name=FORMAT, version=VERSION, source=path)
        names = [spec.name for spec in fields(Sitting)]
        return [Sitting(**{name: document[name] for name in names}) for document in documents]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} is damaged: {error!r:.200}; remove it to resume") from error


def describe_changes(sittings: Sequence[Sitting]) -> list[str]:
    """Return where a sitting computed differently from the one before, and what that costs."""
    lines = []
    for before, after in pairwise(sittings):
        pairs = [
            (spec.name, getattr(before, spec.name), getattr(after, spec.name))
            for spec in fields(Sitting)
            if spec.name != "step"
        ]
        changed = [
            f"{name.replace('_', ' ')} {old} -> {new}" for name, old, new in pairs if old != new
        ]
        if changed:
            cost = _cost(before, after)
            lines.append(f"from step {after.step:,} on: {', '.join(changed)}; {cost}")
    return lines


def _cost(before: Sitting, after: Sitting) -> str:
    """Return the cost; recomputed activations have the same bits unless they are compiled."""
    first, second = ({**asdict(one), "step": 0} for one in (before, after))
    if not after.compiled:
        second["activation_checkpointing"] = first["activation_checkpointing"]
    if first == second:
        return "the weights stay, bit for bit, those of an uninterrupted run"
    return (
        "the weights agree with those of an uninterrupted run up to rounding, and are no longer "
        "promised to be the same bit for bit"
    )
