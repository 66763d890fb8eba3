"""Say what one run is: every field of every section, with its unit.

Stage: TOML preset + command line -> *RunConfig* -> everything else. A section is checked in its own
`__post_init__`, what concerns several sections in `RunConfig`. Nothing is clamped, fixed or
guessed. Not here: the other sections (`inputs.py`, `model.py`, `optimizers.py`, `schedules.py`,
`outputs.py`), reading TOML and overrides (`presets.py`, `cli/run_arguments.py`).
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
from trainer.config.field_checks import option_name, require_kinds, require_positive
from trainer.config.inputs import (
    END_OF_TEXT,
    SMALLEST_VOCABULARY,
    CorpusConfig,
    TokenizerConfig,
)
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
    """How much, and in what portions."""

    batch_size: int
    """Windows an optimizer step; tokens a step = batch_size * context_length."""
    micro_batch_size: int | None = field(default=None, metadata=HOW)
    """Windows a forward and backward; divides batch_size; None: all at once."""
    batch_ramp: str | None = None
    """Smaller batches at first, as TOKENS:WINDOWS,...: until so many training tokens, so many
    windows a step; the learning rate follows the root of the batch size. None: batch_size."""
    activation_checkpointing: bool = field(default=False, metadata=HOW)
    """Keep only each block's input and compute the rest again in backward: less memory, slower."""
    loss: str = field(default="auto", metadata=HOW)
    """How the loss is computed, never what: one of the ways listed above; auto: the fastest."""
    compile: Literal["auto", "on", "off"] = field(default="auto", metadata=HOW)
    """torch.compile; needs a C++ compiler on the CPU; auto: where it is likely to pay."""
    max_steps: int = field(metadata=LENGTH)
    """Optimizer steps of the whole run; under a batch ramp as many whole batches, in more steps."""
    max_skipped_steps: int = 10
    """Steps in a row that a loss or gradient that is not finite may cost; no update is made in
    them. One more, and the run stops."""
    max_hours: float | None = None
    """Wall clock of training after which the run stops; the schedule then follows the clock."""

    def __post_init__(self) -> None:
        """Refuse empty batches and micro-batches that do not divide."""
        require_kinds("training", self)
        require_known("loss", self.loss, option="training.loss")
        require_positive("training", self, "batch_size", "max_steps")
        if self.max_skipped_steps < 0:
            raise ValueError(
                f"training.max-skipped-steps is {self.max_skipped_steps}, but must be >= 0"
            )
        if self.max_hours is not None:
            require_positive("training", self, "max_hours")
        if self.micro_batch_size is not None:
            require_positive("training", self, "micro_batch_size")
            if self.batch_size % self.micro_batch_size:
                raise ValueError(
                    f"training.micro-batch-size {self.micro_batch_size} does not divide "
                    f"training.batch-size {self.batch_size}; choose a divisor"
                )
        parse_ramp(self.batch_ramp, batch_size=self.batch_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One run, complete: equal configurations and equal text give equal models."""

    preset: str
    """The preset this started from; names the run directory."""
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
    """Initial weights, training windows and samples follow from it; in [0, 2^63)."""
    device: str = field(default="auto", metadata=HOW)
    """auto (CUDA where there is one, else the CPU), cpu, cuda, cuda:1, ..., mps (Apple's GPU)."""
    dtype: Literal["auto", "float32", "bfloat16"] = field(default="auto", metadata=HOW)
    """Compute type; weights stay float32. auto: bfloat16 on CUDA, float32 on the CPU and mps."""
    deterministic: bool = field(default=False, metadata=HOW)
    """CUDA: only operations that add in a fixed order, so that equal runs are equal bit for bit;
    slower, and an error where torch has none. On the CPU that is so anyway."""

    def __post_init__(self) -> None:
        """Check what concerns no section, or several; every section has checked itself."""
        require_kinds("", self)
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}, but must be in [0, 2^63)")
        if not _PRESET.fullmatch(self.preset):
            raise ValueError(
                f"preset is {self.preset!r:.200}, but names the run directory: letters, digits, "
                "and -._ between them, 100 at most"
            )
        if self.schedule.range_from is not None:
            self._check_range(self.schedule.range_from)

    def _check_range(self, range_from: float) -> None:
        if range_from >= self.optimizer.learning_rate:
            raise ValueError(
                f"schedule.range-from is {range_from}, but the rate rises from it to "
                f"optimizer.learning-rate {self.optimizer.learning_rate}; lower it"
            )
        for name in ("batch_ramp", "max_hours"):
            value = getattr(self.training, name)
            if value is not None:
                raise ValueError(
                    f"{option_name('training', name)} is {value}, but schedule.name is range, "
                    "whose rate goes by equal steps; leave it out"
                )

    @property
    def schedule_steps(self) -> int:
        """Step at which the schedule reaches its final value; counted in whole batches."""
        return self.schedule.total_steps or self.training.max_steps

    @property
    def tokens_per_step(self) -> int:
        """Training tokens that one step with a whole batch sees."""
        return self.training.batch_size * self.model.context_length

    @property
    def total_tokens(self) -> int:
        """Training tokens of the whole run, with or without a batch ramp."""
        return self.tokens_per_step * self.training.max_steps

    @property
    def batch_stages(self) -> list[Stage]:
        """Batch sizes along the run: a stage each, the whole batch last."""
        training, window = self.training, self.model.context_length
        return lay_out_ramp(
            training.batch_ramp, batch_size=training.batch_size, context_length=window
        )

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run, those of a batch ramp included."""
        return steps_until(self.batch_stages, self.training.max_steps * self.training.batch_size)

    def batch_size_at(self, step: int) -> int:
        """Return the windows of a step, counted from 1."""
        return stage_of_step(self.batch_stages, step).batch_size

    def tokens_after(self, step: int) -> int:
        """Return the training tokens that the first `step` steps see."""
        return windows_after(self.batch_stages, step) * self.model.context_length
