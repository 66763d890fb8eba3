"""Define one run: every field of every section, with its unit.

Stage: TOML preset + command line -> *RunConfig* -> everything else. Each section checks itself in
`__post_init__`; `RunConfig` checks across sections. Nothing is clamped, fixed or guessed. Not here:
the other sections (`inputs.py`, `model.py`, `optimizers.py`, `schedules.py`, `outputs.py`), reading
TOML and overrides (`presets.py`, `cli/run_arguments.py`).
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from nn_layers.backends.registry import require_known
from trainer.config.batch_ramp import (
    Stage,
    lay_out_ramp,
    parse_ramp,
    stage_of_step,
    steps_until,
    windows_after,
)
from trainer.config.field_checks import (
    option_name,
    require_kinds,
    require_positive,
    require_range,
)
from trainer.config.inputs import END_OF_TEXT, SMALLEST_VOCABULARY, CorpusConfig, TokenizerConfig
from trainer.config.model import ModelSection
from trainer.config.optimizers import OptimizerConfig
from trainer.config.outputs import CheckpointConfig, EvaluationConfig, LoggingConfig
from trainer.config.resumable import BESIDE, HOW, LENGTH, how
from trainer.config.schedules import ScheduleConfig

__all__ = [
    "END_OF_TEXT",
    "SMALLEST_VOCABULARY",
    "CheckpointConfig",
    "CorpusConfig",
    "EvaluationConfig",
    "LoggingConfig",
    "ModelSection",
    "OptimizerConfig",
    "RunConfig",
    "ScheduleConfig",
    "TokenizerConfig",
    "TrainingConfig",
]

_PRESET = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Batches, steps and how they are computed."""

    batch_size: int
    """Windows per optimizer step; tokens per step = batch_size * context_length."""
    micro_batch_size: int | None = field(default=None, metadata=HOW)
    """Windows per forward and backward pass; divides batch_size; None: all at once."""
    batch_ramp: str | None = None
    """Smaller batches at first, TOKENS:WINDOWS,...: windows per step up to that many tokens. The
    learning rate follows the root of the batch size. None: no ramp."""
    activation_checkpointing: bool = field(default=False, metadata=HOW)
    """Keep only each block's input and recompute the rest in backward: less memory, slower."""
    loss: str = field(default="auto", metadata=HOW)
    """How the loss is computed, not its value: a backend from the list above; auto: the fastest."""
    compile: Literal["auto", "on", "off"] = field(default="auto", metadata=HOW)
    """torch.compile; needs a C++ compiler on the CPU; auto: where it is likely to pay off."""
    max_steps: int = field(metadata=LENGTH)
    """Optimizer steps of the run; under a batch ramp, as many whole batches in more steps."""
    max_skipped_steps: int = 10
    """Most consecutive steps skipped for a nonfinite loss or gradient; one more ends the run."""
    max_hours: float | None = None
    """Hours of training after which the run stops; the schedule then follows the clock."""

    def __post_init__(self) -> None:
        """Refuse empty batches and micro-batches that do not divide."""
        require_kinds("training", self)
        require_known("loss", self.loss, option="training.loss")
        require_positive("training", self, "batch_size", "max_steps")
        require_positive("training", self, "max_hours", "micro_batch_size")
        require_range("training", self, "[0, inf)", "max_skipped_steps")
        if self.batch_size % (self.micro_batch_size or 1):
            raise ValueError(
                f"training.micro-batch-size {self.micro_batch_size} does not divide "
                f"training.batch-size {self.batch_size}; choose a divisor"
            )
        parse_ramp(self.batch_ramp, batch_size=self.batch_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One complete run: equal configurations and equal text give equal models."""

    preset: str
    """The preset it started from; names the run directory."""
    corpus: CorpusConfig
    tokenizer: TokenizerConfig
    model: ModelSection = field(metadata=how("attention"))
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    training: TrainingConfig
    evaluation: EvaluationConfig = field(metadata=BESIDE)
    checkpoint: CheckpointConfig = field(metadata=BESIDE)
    logging: LoggingConfig = field(default_factory=LoggingConfig, metadata=BESIDE)
    seed: int = 0
    """Determines initial weights, training windows and samples; in [0, 2^63)."""
    device: str = field(default="auto", metadata=HOW)
    """auto (CUDA if available, else the CPU), cpu, cuda, cuda:1, ..., mps (Apple's GPU)."""
    dtype: Literal["auto", "float32", "bfloat16"] = field(default="auto", metadata=HOW)
    """Compute type; weights stay float32. auto: bfloat16 on CUDA, float32 on the CPU and mps."""
    deterministic: bool = field(default=False, metadata=HOW)
    """CUDA: make equal runs equal bit for bit, as on the CPU; slower, and some operations fail."""

    def __post_init__(self) -> None:
        """Check across sections; every section has checked itself."""
        require_kinds("", self)
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}, but must be in [0, 2^63)")
        if not _PRESET.fullmatch(self.preset):
            raise ValueError(
                f"preset is {self.preset!r:.200}, but names the run directory: use at most 100 "
                "letters, digits, and -._ between them"
            )
        if self.schedule.range_from is not None:
            self._check_range(self.schedule.range_from)

    def _check_range(self, range_from: float) -> None:
        if range_from >= self.optimizer.learning_rate:
            raise ValueError(
                f"schedule.range-from is {range_from}, but the rate must rise from there to "
                f"optimizer.learning-rate {self.optimizer.learning_rate}; lower it"
            )
        for name in ("batch_ramp", "max_hours"):
            value = getattr(self.training, name)
            if value is not None:
                raise ValueError(
                    f"{option_name('training', name)} is {value}, but schedule.name is range, "
                    "which needs steps of equal size; leave it out"
                )

    @property
    def schedule_steps(self) -> int:
        """Step at which the schedule reaches its final value, in whole batches."""
        return self.schedule.total_steps or self.training.max_steps

    @property
    def tokens_per_step(self) -> int:
        """Training tokens per step with a whole batch."""
        return self.training.batch_size * self.model.context_length

    @property
    def total_tokens(self) -> int:
        """Training tokens of the whole run, with or without a batch ramp."""
        return self.tokens_per_step * self.training.max_steps

    @property
    def batch_stages(self) -> list[Stage]:
        """The stages of the batch ramp, the whole batch last."""
        ramp, batch_size = self.training.batch_ramp, self.training.batch_size
        context_length = self.model.context_length
        return lay_out_ramp(ramp, batch_size=batch_size, context_length=context_length)

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run, including those of a batch ramp."""
        return steps_until(self.batch_stages, self.training.max_steps * self.training.batch_size)

    def batch_size_at(self, step: int) -> int:
        """Return the windows of a step, counted from 1."""
        return stage_of_step(self.batch_stages, step).batch_size

    def tokens_after(self, step: int) -> int:
        """Return the training tokens in the first `step` steps."""
        return windows_after(self.batch_stages, step) * self.model.context_length
