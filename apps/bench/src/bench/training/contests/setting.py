"""Hold the setting that all contests of language models share.

Stage: the command's options -> *setting* -> contests.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.measurement.harness import Entry, Order
from bpe.messages.plural import plural

CONTEXT_LENGTH = 256
TRAINED = ("models.ours", "models.nanogpt", "models.huggingface")
NAMES = {
    "models.ours": "ours",
    "models.nanogpt": "nanoGPT-style",
    "models.huggingface": "HF Llama",
    "models.matmul": "matmul peak",
}
# Keep freed pages: by default glibc returns large blocks at once, and they fault again.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A way in which a contestant does the same work."""

    micro_batch_size: int
    """Windows per forward and backward pass."""
    compile: str
    """"off", or a mode of torch.compile; ours: the trainer's `training.compile`."""

    def __str__(self) -> str:
        """Describe the way briefly."""
        return f"{plural(self.micro_batch_size, 'window')} at once, compile {self.compile}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSetting:
    """One run on one device."""

    tokens: Path
    """Token file, .npy."""
    cache_dir: Path
    """Size of the prepared text's vocabulary."""
    device: str
    num_threads: int
    batch_size: int
    """Windows per optimizer step."""
    num_steps: int
    """Timed steps."""
    warm_steps: int
    """Warm-up steps before them."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def entry(self, contestant: str, task: str, name: str = "", **arguments: str | int) -> Entry:
        """Return an entry for one task, by default named by its contestant."""
        order = Order(
            contestant=contestant,
            task=task,
            tasks="bench.training.tasks",
            num_threads=self.num_threads,
            arguments={"device": self.device, **arguments},
            environment={**ALLOCATOR, **self.environment},
        )
        return Entry(name=name or NAMES[contestant], order=order)

    def training(self, contestant: str, way: Way, dtype: str, name: str = "") -> Entry:
        """Return an entry that trains for several steps."""
        return self.entry(
            contestant,
            "train",
            name,
            tokens=str(self.tokens),
            dtype=dtype,
            batch_size=self.batch_size,
            warm_steps=self.warm_steps,
            num_steps=self.num_steps,
            **asdict(way),
        )
