"""Say how one optimizer step is computed: what changes its memory and work, never its result."""

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_origin

Optimizer = Literal["adamw", "sgd", "muon"]


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
    """Tokens a window; None: the whole context."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of matrix products, by autocast; weights, gradients and moments stay float32."""
    attention: Literal["fused", "plain", "matmul", "native"] = "fused"
    """torch's kernel, which keeps no scores; the written-out formula; blocks of 128 rows; or this
    project's kernel for the CPU, which rotates inside."""
    loss: Literal["plain", "fused", "chunked", "native"] = "plain"
    """The formula; loss and gradient in one pass over the logits; 2,048 rows at a time; or those in
    one pass by this project's kernel for the CPU."""
    checkpointing: bool = False
    """Whether each block keeps its input alone and is computed again in the backward pass."""
    optimizer: Optimizer = "adamw"

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        for spec in fields(self):
            value = getattr(self, spec.name)
            if get_origin(spec.type) is Literal and value not in get_args(spec.type):
                choices = ", ".join(map(repr, get_args(spec.type)))
                raise ValueError(f"{spec.name} is {value!r}, but must be one of {choices}")
            is_count = spec.type in (int, int | None) and value is not None
            if is_count and (type(value) is not int or value < 1):
                raise ValueError(f"{spec.name} is {value!r}, but must be a positive integer")
