"""Describe how one optimizer step is computed, which affects its cost but not its result.

Stage: *settings* -> memory, FLOPs. Not here: the model (`shape`).
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateRule:
    """What the update of one parameter takes; clipping is counted apart."""

    flops: int
    """Elementwise operations for each number."""
    state: tuple[str, ...] = ()
    """Names of the float32 tensors like the parameter that are kept."""
    is_counted: bool = False
    """Whether updates are counted for each parameter, in a tensor `step` of one number."""
    workspace: int = 0
    """Tensors like the parameter that are made in passing."""
    is_orthogonalized: bool = False
    """Whether matrices of one shape are stacked and orthogonalised by Newton-Schulz steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """What an optimizer's updates take."""

    name: str
    """Of its class."""
    rule: UpdateRule
    hidden_rule: UpdateRule | None = None
    """Of the matrices between embedding and head; None: the same rule."""

    def rule_of(self, *, is_hidden: bool) -> UpdateRule:
        """Return the rule of a parameter, hidden matrix or not."""
        return self.hidden_rule if is_hidden and self.hidden_rule else self.rule


# Decays 1, averages the gradient 3, its square 4, and steps 6.
_ADAMW = UpdateRule(flops=14, state=("exp_avg", "exp_avg_sq"), is_counted=True, workspace=2)
OPTIMIZERS = {
    "adamw": Optimizer(name="AdamW", rule=_ADAMW),
    "sgd": Optimizer(name="SGD", rule=UpdateRule(flops=3)),  # decays 1 and steps 2
    "muon": Optimizer(
        name="Muon",
        rule=_ADAMW,
        # averages 3, looks ahead 3, decays 1, and steps 2
        hidden_rule=UpdateRule(flops=9, state=("momentum",), is_orthogonalized=True),
    ),
}
"""Those that have a name here; any other can be described as well."""


def find_optimizer(optimizer: Optimizer | str) -> Optimizer:
    """Return the optimizer of a name, or the one that is given.

    Raises:
        ValueError: no optimizer here has the name.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if optimizer not in OPTIMIZERS:
        choices = ", ".join(map(repr, OPTIMIZERS))
        raise ValueError(f"optimizer is {optimizer!r}, but must be one of {choices}")
    return OPTIMIZERS[optimizer]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSettings:
    """One optimizer step.

    Raises:
        ValueError: a size below 1, or an unknown choice.
    """

    batch_size: int = 1
    """Windows of one forward and backward pass."""
    num_micro_batches: int = 1
    """Forward and backward passes before the update."""
    num_tokens: int | None = None
    """Tokens per window; None: the whole context."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of matrix products, by autocast; weights, gradients and moments stay float32."""
    attention: Literal["sdpa", "plain", "matmul", "native"] = "sdpa"
    """torch's kernel, which keeps no scores; the written-out formula; blocks of 128 rows; or this
    project's kernels, which rotate inside."""
    attention_keeps: tuple[str, ...] | None = None
    """Of an attention that is none of these: the dimensions of each float32 tensor that it keeps
    beside queries, keys and values, in the letters of `legend`. None: it is one of these."""
    loss: Literal["plain", "in-place", "chunked", "native", "triton"] = "plain"
    """The formula; loss and gradient in one pass over the logits; 2,048 rows at a time; those in
    one pass by this project's kernel for the CPU; or some MB at a time by that for CUDA."""
    checkpointing: bool = False
    """Whether each block keeps its input alone and is computed again in the backward pass."""
    optimizer: Optimizer | str = "adamw"
    """A name of `OPTIMIZERS`, or what the updates of another take."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        check_fields(self)
        find_optimizer(self.optimizer)


def check_fields(described: Any) -> None:
    """Refuse unknown choices, switches that are not bool, and sizes that are not positive."""
    for spec in fields(described):
        name, kind, value = spec.name, spec.type, getattr(described, spec.name)
        is_size = kind is int or (kind == int | None and value is not None)
        if get_origin(kind) is Literal and value not in get_args(kind):
            choices = ", ".join(map(repr, get_args(kind)))
            raise ValueError(f"{name} is {value!r}, but must be one of {choices}")
        if kind is bool and type(value) is not bool:
            raise ValueError(f"{name} is {value!r}, but must be True or False")
        if is_size and (type(value) is not int or value < 1):
            raise ValueError(f"{name} is {value!r}, but must be a positive integer")
