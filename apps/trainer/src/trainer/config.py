"""Say what one run is: every field of every section, with its unit.

Stage: TOML preset + command line -> *RunConfig* -> everything else. A section is checked in its own
`__post_init__`, what concerns several sections in `RunConfig`. Not here: reading TOML and overrides
(`presets.py`, `command_line.py`). Nothing is clamped, fixed or guessed.
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from bpe import resolve_pattern
from nn_layers import ModelConfig
from trainer.batch_ramp import (
    Stage,
    lay_out_ramp,
    parse_ramp,
    stage_of_step,
    steps_until,
    windows_after,
)
from trainer.config_outputs import CheckpointConfig, LoggingConfig, require_positive

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusConfig:
    """Where the text comes from."""

    source: Literal["stdlib", "tinystories", "owt", "files"]
    """stdlib: Python's own source, offline; tinystories, owt: downloaded; files: yours."""
    train: tuple[Path, ...] = ()
    """UTF-8 text files to train on; naming any makes the source `files`."""
    validation: tuple[Path, ...] = ()
    """UTF-8 text files to validate on; none: some of the training documents are held out."""
    validation_fraction: float = 0.05
    """Share of the bytes held out where no validation file is given, in (0, 1); whole documents."""
    cache_dir: Path = Path("data")
    """Downloads and prepared data (tokenizer, token files) live here and are reused."""
    mirror: str | None = None
    """Base URL to download tinystories and owt from instead of Hugging Face; same file names."""

    def __post_init__(self) -> None:
        """Refuse contradictions between source and files."""
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"corpus.validation-fraction is {self.validation_fraction}, but must be in (0, 1)"
            )
        if self.validation and not self.train:
            raise ValueError(
                "corpus.validation names files but corpus.train does not; name both or neither"
            )
        if self.source == "files" and not self.train:
            raise ValueError(
                "corpus.source is files, but corpus.train names none; name at least one"
            )
        if self.source != "files" and self.train:
            raise ValueError(
                f"corpus.source is {self.source!r}, but corpus.train names files; "
                "use --corpus.source files or drop corpus.train"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerConfig:
    """The byte-level BPE tokenizer trained on the training text."""

    vocab_size: int
    """Tokens: end-of-text, 256 bytes and the merges."""
    pattern: str = "gpt2"
    """Split pattern: gpt2, cl100k, o200k, or any `regex` source."""
    num_workers: int | None = None
    """Threads or processes that count and encode; None: one per usable CPU. Never changes the
    result."""

    def __post_init__(self) -> None:
        """Refuse a vocabulary that cannot hold the bytes, and a pattern that does not compile."""
        if self.vocab_size < 257:
            raise ValueError(
                f"tokenizer.vocab-size is {self.vocab_size}, but 256 bytes and {END_OF_TEXT} "
                "need 257; raise it"
            )
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(f"tokenizer.num-workers is {self.num_workers}, but must be at least 1")
        resolve_pattern(self.pattern)


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
    attention: Literal["auto", "plain", "fused", "matmul", "native", "triton"] = "auto"
    """How attention is computed, never what: the written-out formula, torch's kernel,
    batched matrix products or an own kernel (native on the CPU, triton on CUDA); auto: the
    fastest that is exact."""

    def __post_init__(self) -> None:
        """Let the model's own checks speak before any text is read."""
        self.build(vocab_size=257)

    def build(self, *, vocab_size: int) -> ModelConfig:
        """Return the model's configuration for a tokenizer of `vocab_size` ids."""
        return ModelConfig(vocab_size=vocab_size, **asdict(self))


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
        require_positive("optimizer", self, "learning_rate", "eps")
        for name in ("beta1", "beta2", "muon_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"optimizer.{name.replace('_', '-')} is {getattr(self, name)}, but must be "
                    "in [0, 1)"
                )
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                f"optimizer.weight-decay is {self.weight_decay}, but must be >= 0 and finite"
            )
        if self.max_grad_norm is not None:
            require_positive("optimizer", self, "max_grad_norm")
        if self.muon_learning_rate is not None:
            require_positive("optimizer", self, "muon_learning_rate")
        elif self.muon_scale == "spectral":
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
        """Refuse values outside their range."""
        if self.warmup_steps < 0:
            raise ValueError(f"schedule.warmup-steps is {self.warmup_steps}, but must be >= 0")
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(
                f"schedule.final-fraction is {self.final_fraction}, but must be in [0, 1]"
            )
        if self.total_steps is not None:
            require_positive("schedule", self, "total_steps")
        if (self.name == "range") != (self.range_from is not None):
            raise ValueError(
                f"schedule.range-from is {self.range_from}, but schedule.name {self.name!r}; the "
                "two go together"
            )
        if self.range_from is not None:
            require_positive("schedule", self, "range_from")
            if self.warmup_steps:
                raise ValueError(
                    f"schedule.warmup-steps is {self.warmup_steps}, but a range has none; set 0"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How much, and in what portions."""

    batch_size: int
    """Windows an optimizer step; tokens a step = batch_size * context_length."""
    micro_batch_size: int | None = None
    """Windows a forward and backward; divides batch_size; None: all at once."""
    batch_ramp: str | None = None
    """Smaller batches at first, as TOKENS:WINDOWS,...: until so many training tokens, so many
    windows a step; the learning rate follows the root of the batch size. None: batch_size."""
    activation_checkpointing: bool = False
    """Keep only each block's input and compute the rest again in backward: less memory, slower."""
    loss: Literal["auto", "plain", "chunked", "native", "fused"] = "auto"
    """How the loss is computed, never what: plain formula; chunked: head and loss together, some
    rows at a time, so that the logits are never all there; native: the same by an own kernel for
    the CPU; fused: loss and its gradient in one pass; auto: the fastest that is exact."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; needs a C++ compiler on the CPU; auto: where it is likely to pay."""
    max_steps: int
    """Optimizer steps of the whole run; under a batch ramp as many whole batches, in more steps."""
    max_skipped_steps: int = 10
    """Steps in a row that a loss or gradient that is not finite may cost; no update is made in
    them. One more, and the run stops."""
    max_hours: float | None = None
    """Wall clock of training after which the run stops; the schedule then follows the clock."""

    def __post_init__(self) -> None:
        """Refuse empty batches and micro-batches that do not divide."""
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
class EvaluationConfig:
    """Validation loss and samples along the way."""

    every_steps: int
    """Steps between evaluations; the last step is always evaluated."""
    num_windows: int
    """Fixed validation windows scored each time."""
    batch_size: int = 32
    """Windows scored at once; changes memory, not the result."""
    final_tokens: int | None = None
    """Validation tokens scored, once each, at the end of the run; None: all of them."""
    target_loss: float | None = None
    """Aim for the validation loss, nats a token; the report says whether it was reached."""
    sample_prompt: str = ""
    """What samples continue; empty: start from end-of-text."""
    sample_tokens: int = 128
    """Length of each periodic sample, tokens; 0: none."""
    sample_temperature: float = 0.8
    """Sharpness of sampling; 0: greedy."""
    sample_top_p: float = 0.95
    """Smallest probability mass that sampling draws from, in (0, 1]."""
    baselines: bool = True
    """Compare the final model with xz -9, a unigram and a smoothed bigram."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        require_positive("evaluation", self, "every_steps", "num_windows", "batch_size")
        if self.final_tokens is not None:
            require_positive("evaluation", self, "final_tokens")
        if self.sample_tokens < 0:
            raise ValueError(f"evaluation.sample-tokens is {self.sample_tokens}, but must be >= 0")
        if not 0 <= self.sample_temperature < math.inf:
            raise ValueError(
                f"evaluation.sample-temperature is {self.sample_temperature}, but must be >= 0 "
                "and finite; 0 is greedy"
            )
        if self.target_loss is not None and not math.isfinite(self.target_loss):
            raise ValueError(f"evaluation.target-loss is {self.target_loss}, but must be finite")
        if not 0 < self.sample_top_p <= 1:
            raise ValueError(
                f"evaluation.sample-top-p is {self.sample_top_p}, but must be in (0, 1]"
            )


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
    evaluation: EvaluationConfig
    checkpoint: CheckpointConfig
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    seed: int = 0
    """Initial weights, training windows and samples follow from it; in [0, 2^63)."""
    device: str = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda, cuda:1, ..., mps (Apple's GPU)."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type; weights stay float32. auto: bfloat16 on CUDA, float32 on the CPU and mps."""
    deterministic: bool = False
    """CUDA: only operations that add in a fixed order, so that equal runs are equal bit for bit;
    slower, and an error where torch has none. On the CPU that is so anyway."""

    def __post_init__(self) -> None:
        """Check the seed; every section has checked itself."""
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}, but must be in [0, 2^63)")

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
