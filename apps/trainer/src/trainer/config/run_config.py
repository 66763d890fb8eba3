"""Say what one run is: every field of every section, with its unit.

Stage: TOML preset + command line -> *RunConfig* -> everything else. A section is checked in its own
`__post_init__`, what concerns several sections in `RunConfig`. Nothing is clamped, fixed or
guessed. Not here: the sections about text (`config_inputs.py`) and about what is left on the disk
(`config_outputs.py`), reading TOML and overrides (`presets.py`, `command_line.py`).
"""

import re
from dataclasses import asdict, dataclass, field, fields
from typing import Literal

from nn_layers import ModelConfig
from trainer.config.batch_ramp import (
    Stage,
    lay_out_ramp,
    parse_ramp,
    stage_of_step,
    steps_until,
    windows_after,
)
from trainer.config.field_checks import (
    LARGEST,
    option_name,
    require_kinds,
    require_multiplier,
    require_positive,
)
from trainer.config.inputs import (
    END_OF_TEXT,
    SMALLEST_VOCABULARY,
    CorpusConfig,
    TokenizerConfig,
)
from trainer.config.outputs import CheckpointConfig, EvaluationConfig, LoggingConfig
from trainer.config.resumable import BESIDE, HOW, LENGTH

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
class ModelSection:
    """The Transformer (`nn_layers.ModelConfig`); the tokenizer gives the vocabulary size."""

    context_length: int
    """Positions the model sees at once; tokens."""
    d_model: int
    """Width of the residual stream."""
    num_layers: int
    """Transformer blocks."""
    num_heads: int
    """Query heads; divides d_model."""
    d_ff: int
    """Width inside the feed-forward layer."""
    num_kv_heads: int | None = None
    """Key and value heads (grouped-query attention); None: as many as query heads."""
    rope_theta: float = 10000.0
    """Base of the rotary wavelengths."""
    position: Literal["rope", "none"] = "rope"
    """Rotary positions, or none at all (NoPE)."""
    rope_layout: Literal["adjacent", "half"] = "adjacent"
    """Which dimensions rotate together: neighbours (RoFormer) or halves (Llama)."""
    norm: Literal["pre", "post", "none"] = "pre"
    """RMSNorm before each sublayer, after each residual sum, or nowhere."""
    feed_forward: Literal["swiglu", "silu"] = "swiglu"
    """Gated SwiGLU (three matrices) or plain SiLU (two)."""
    qk_norm: bool = False
    """RMSNorm on queries and keys, a head at a time."""
    tie_embeddings: bool = False
    """One matrix for the token embedding and the output head."""
    attention: Literal["auto", "plain", "fused", "matmul", "native", "triton"] = field(
        default="auto", metadata=HOW
    )
    """How attention is computed, never what: the written-out formula, torch's kernel,
    batched matrix products or an own kernel (native on the CPU, triton on CUDA); auto: the
    fastest that is exact."""

    def __post_init__(self) -> None:
        """Let the model's own checks speak before any text is read, by the names of options."""
        require_kinds("model", self)
        try:
            self.build(vocab_size=SMALLEST_VOCABULARY)
        except ValueError as error:
            names = "|".join(spec.name for spec in fields(self) if "_" in spec.name)
            message = re.sub(rf"\b({names})\b", _as_option, str(error))
            raise ValueError(message) from error
        require_multiplier("model", self, "rope_theta")

    def build(self, *, vocab_size: int) -> ModelConfig:
        """Return the model's configuration for a tokenizer of `vocab_size` ids."""
        return ModelConfig(vocab_size=vocab_size, **asdict(self))


def _as_option(name: re.Match[str]) -> str:
    return option_name("model", name[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """The parameter update."""

    name: Literal["adamw", "muon", "sgd"] = "adamw"
    """Which optimizer; muon: hidden matrices by Muon, embedding, head and gains by AdamW."""
    learning_rate: float
    """Peak learning rate; the schedule scales it."""
    muon_learning_rate: float | None = None
    """Muon: peak learning rate of the hidden matrices; None: learning_rate."""
    muon_momentum: float = 0.95
    """Muon: decay of the mean of the gradient, with Nesterov's look ahead."""
    muon_scale: Literal["rms", "spectral"] = "rms"
    """Muon: rms: entries move as far as AdamW's do, so that its rates fit; spectral: by the shape
    alone, usually at a muon_learning_rate of 0.02."""
    beta1: float = 0.9
    """AdamW: decay of the mean of the gradient."""
    beta2: float = 0.95
    """AdamW: decay of the mean of its square."""
    eps: float = 1e-8
    """AdamW: added to the denominator."""
    weight_decay: float = 0.1
    """Decoupled decay of the matrices, per unit of learning rate; norm gains have none."""
    max_grad_norm: float | None = 1.0
    """Gradients are scaled down to this global norm; None: never."""

    def __post_init__(self) -> None:
        """Refuse values that no update can use."""
        require_kinds("optimizer", self)
        multipliers = ("learning_rate", "eps", "max_grad_norm", "muon_learning_rate")
        require_multiplier("optimizer", self, *multipliers)
        for name in ("beta1", "beta2", "muon_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"optimizer.{name.replace('_', '-')} is {getattr(self, name)}, but must be "
                    "in [0, 1)"
                )
        if not 0 <= self.weight_decay <= LARGEST:
            raise ValueError(
                f"optimizer.weight-decay is {self.weight_decay}, but must be in [0, {LARGEST:g}]"
            )
        if self.muon_learning_rate is None and self.muon_scale == "spectral":
            raise ValueError(
                "optimizer.muon-scale is spectral, where learning-rate does not fit; give "
                "optimizer.muon-learning-rate, usually 0.02"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """The learning rate over the run."""

    name: Literal["cosine", "linear", "wsd", "constant", "range"] = "cosine"
    """Shape after the warm-up; wsd: stable, then a linear decay over the last fifth; range: rises
    exponentially from range_from to the peak, at which the run ends, as `lr-range` asks for."""
    warmup_steps: int
    """Steps of linear rise from zero to the peak; of whole batches, like all steps here."""
    final_fraction: float = 0.1
    """Learning rate at the last step, as a share of the peak, in [0, 1]."""
    total_steps: int | None = None
    """Step at which the final value is reached; None: the last step of the run."""
    range_from: float | None = None
    """range: learning rate of the first step."""

    def __post_init__(self) -> None:
        """Refuse values outside their range, and a schedule that ends inside its warm-up."""
        require_kinds("schedule", self)
        if self.warmup_steps < 0:
            raise ValueError(f"schedule.warmup-steps is {self.warmup_steps}, but must be >= 0")
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(
                f"schedule.final-fraction is {self.final_fraction}, but must be in [0, 1]"
            )
        if self.total_steps is not None:
            require_positive("schedule", self, "total_steps")
            if self.total_steps <= self.warmup_steps:
                raise ValueError(
                    f"schedule.total-steps is {self.total_steps}, but schedule.warmup-steps "
                    f"{self.warmup_steps} must end before it; raise one or lower the other"
                )
        self._check_range()

    def _check_range(self) -> None:
        if (self.name == "range") != (self.range_from is not None):
            raise ValueError(
                f"schedule.range-from is {self.range_from}, but schedule.name {self.name!r}; the "
                "two go together"
            )
        if self.range_from is None:
            return
        require_multiplier("schedule", self, "range_from")
        if self.warmup_steps:
            raise ValueError(
                f"schedule.warmup-steps is {self.warmup_steps}, but a range has none; set 0"
            )
        if self.total_steps is not None:
            raise ValueError(
                f"schedule.total-steps is {self.total_steps}, but a range ends with the run; "
                "leave it out"
            )


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
    loss: Literal["auto", "plain", "chunked", "native", "fused"] = field(
        default="auto", metadata=HOW
    )
    """How the loss is computed, never what: plain formula; chunked: head and loss together, some
    rows at a time, so that the logits are never all there; native: the same by an own kernel for
    the CPU; fused: loss and its gradient in one pass; auto: the fastest that is exact."""
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
    model: ModelSection
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
