"""Propose a model and a run for the hours and the device at hand.

Stage: hours, device -> budget -> *shape, batch, steps* -> a run. Sizes come from a family of shapes
with one parameter, the width; of those whose weights and batch fit, the best by the chosen fit of
`scaling` is taken. Learning rate and batch size follow a published fit; `sweep` finds better ones.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from accounting.flops import training_flops
from accounting.memory import peak_bytes
from accounting.parameters import count_parameters
from accounting.scaling import Approach, effective_tokens, optimal_allocation, predicted_loss
from accounting.shape import ModelShape
from accounting.step import StepSettings

_HEAD_WIDTH, _WIDTH_A_LAYER = 64, 64
_LARGEST_MICRO_BATCH = 256
_MEMORY_SHARE = 0.9  # the rest is for the driver, fragments and workspaces


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The available hours, speed and memory."""

    hours: float
    peak_flops_per_second: float
    memory_bytes: float
    utilization: float = 0.4
    """Share of the peak that training reaches, by the model convention."""
    training_share: float = 0.95
    """Share of the hours; the rest is for starting, evaluating and saving."""

    def __post_init__(self) -> None:
        """Refuse values with which no run can be planned."""
        for name in ("hours", "peak_flops_per_second", "memory_bytes"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} is {value}, but must be positive and finite")
        for name in ("utilization", "training_share"):
            if not 0 < (value := getattr(self, name)) <= 1:
                raise ValueError(f"{name} is {value}, but must be in (0, 1]")

    @property
    def flops(self) -> float:
        """Training FLOPs, model convention."""
        speed = self.peak_flops_per_second * self.utilization
        return 3600 * self.hours * self.training_share * speed


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A model and a run."""

    shape: ModelShape
    approach: Approach
    batch_size: int
    """Windows per step."""
    micro_batch_size: int
    """Windows at once; divides the batch."""
    num_steps: int
    learning_rate: float
    warmup_steps: int
    predicted_loss: float
    """Loss by the parametric fit, on its authors' text; repeated tokens count for less."""
    epochs: float | None
    """None: the corpus' size is unknown."""
    peak_memory_bytes: int

    @property
    def num_tokens(self) -> int:
        """Total tokens trained on."""
        return self.num_steps * self.batch_size * self.shape.context_length


def propose(
    budget: Budget,
    *,
    approach: Approach = "parametric",
    vocab_size: int = 32_000,
    context_length: int = 512,
    unique_tokens: float | None = None,
    settings: StepSettings | None = None,
) -> Plan:
    """Choose the shape, then the batch, then the steps that use up the hours.

    Args:
        budget: hours, speed, memory.
        approach: which fit decides the size.
        vocab_size: of the tokenizer.
        context_length: tokens per window.
        unique_tokens: tokens of the corpus; None: more than needed.
        settings: how steps are computed; its batch size is ignored.

    Raises:
        ValueError: not even the smallest model fits or makes ten steps.

    Source: Bi et al. 2024 (DeepSeek LLM), arXiv:2401.02954, equation 1, for batch and learning
    rate.
    """
    settings = settings or StepSettings()
    family = _family(vocab_size, context_length)
    trainable = (shape for shape in family if _is_trainable(shape, budget))
    candidates = [shape for shape in trainable if _fits(shape, settings, budget)]
    if not candidates:
        raise ValueError(
            f"no model fits {budget.hours:g} hours and {budget.memory_bytes:,.0f} bytes; "
            "give more of either, a shorter context or a smaller vocabulary"
        )
    shape = min(candidates, key=lambda one: _regret(one, budget, approach, unique_tokens))
    return _schedule(shape, budget, approach, unique_tokens, settings)


def _family(vocab_size: int, context_length: int) -> Iterator[ModelShape]:
    """Yield shapes by width: heads of 64, one layer per 64 of width, d_ff = 8/3 of the width."""
    for heads in range(2, 65):
        width = heads * _HEAD_WIDTH
        yield ModelShape(
            vocab_size=vocab_size,
            context_length=context_length,
            d_model=width,
            num_layers=max(width // _WIDTH_A_LAYER, 2),
            num_heads=heads,
            d_ff=64 * round(width * 8 / 3 / 64),
            qk_norm=True,
        )


def _is_trainable(shape: ModelShape, budget: Budget) -> bool:
    """Return whether it gets a few windows and one token per parameter; no fit wants more."""
    tokens = _tokens(shape, budget)
    is_smallest = shape.d_model == 2 * _HEAD_WIDTH
    enough = 0 if is_smallest else count_parameters(shape).total
    return tokens >= max(10 * shape.context_length, enough)


def _fits(shape: ModelShape, settings: StepSettings, budget: Budget) -> bool:
    persistent = 16 * count_parameters(shape).total  # AdamW; avoids most simulations
    limit = _MEMORY_SHARE * budget.memory_bytes
    return persistent < limit and peak_bytes(shape, replace(settings, batch_size=1)) <= limit


def _tokens(shape: ModelShape, budget: Budget) -> float:
    return budget.flops / training_flops(shape, 1)


def _regret(
    shape: ModelShape, budget: Budget, approach: Approach, unique_tokens: float | None
) -> float:
    parameters, tokens = count_parameters(shape).total, _tokens(shape, budget)
    if approach == "parametric":
        return _loss(parameters, tokens, unique_tokens)
    best = optimal_allocation(6 * parameters * tokens, approach)
    return abs(math.log(parameters / best.parameters))


def _loss(parameters: float, tokens: float, unique_tokens: float | None) -> float:
    if unique_tokens is not None:
        tokens = effective_tokens(tokens, unique_tokens=unique_tokens)
    return predicted_loss(parameters, tokens)


def _schedule(
    shape: ModelShape,
    budget: Budget,
    approach: Approach,
    unique_tokens: float | None,
    settings: StepSettings,
) -> Plan:
    tokens = _tokens(shape, budget)
    wanted = 0.2920 * budget.flops**0.3271 / shape.context_length
    batch_size = 2 ** max(round(math.log2(min(wanted, tokens / shape.context_length / 10))), 0)
    micro, limit = batch_size, _MEMORY_SHARE * budget.memory_bytes
    while micro > 1 and (
        micro > _LARGEST_MICRO_BATCH or _peak(shape, settings, batch_size, micro) > limit
    ):
        micro //= 2
    num_steps = max(int(tokens / (batch_size * shape.context_length)), 1)
    return Plan(
        shape=shape,
        approach=approach,
        batch_size=batch_size,
        micro_batch_size=micro,
        num_steps=num_steps,
        learning_rate=float(f"{0.3118 * budget.flops**-0.125:.2g}"),
        warmup_steps=min(max(num_steps // 50, 10), num_steps // 2),
        predicted_loss=_loss(count_parameters(shape).total, tokens, unique_tokens),
        epochs=None if unique_tokens is None else tokens / unique_tokens,
        peak_memory_bytes=_peak(shape, settings, batch_size, micro),
    )


def _peak(shape: ModelShape, settings: StepSettings, batch_size: int, micro: int) -> int:
    passes = batch_size // micro
    return peak_bytes(shape, replace(settings, batch_size=micro, num_micro_batches=passes))
