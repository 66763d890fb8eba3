"""List the configurations on which predicted memory is checked.

Stage: *cases* -> tests, `bench accounting`. All are small, so that they are measured in seconds.
They cover every dominant part (logits, blocks or weights), every switch and every way to compute.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from accounting import ModelShape, StepSettings

SHAPE = ModelShape(
    vocab_size=300, context_length=48, d_model=48, num_layers=2, num_heads=4, d_ff=128
)

Changes = Mapping[str, Any]

CASES: list[tuple[Changes, Changes]] = [
    ({}, {}),
    ({}, {"dtype": "bfloat16"}),
    ({}, {"attention": "plain"}),
    ({}, {"attention": "plain", "dtype": "bfloat16"}),
    ({}, {"num_tokens": 7, "batch_size": 3}),
    ({}, {"batch_size": 1, "num_micro_batches": 3}),
    ({"norm": "post"}, {}),
    ({"norm": "none"}, {}),
    ({"norm": "none", "position": "none"}, {"attention": "plain"}),
    ({"qk_norm": True}, {}),
    ({"qk_norm": True, "num_kv_heads": 2}, {"dtype": "bfloat16"}),
    ({"num_kv_heads": 1}, {}),
    ({"num_kv_heads": 2}, {"attention": "plain"}),
    ({"rope_layout": "half"}, {}),
    ({"rope_layout": "half", "qk_norm": True}, {"dtype": "bfloat16"}),
    ({"position": "none"}, {}),
    ({"feed_forward": "silu"}, {}),
    ({"feed_forward": "silu", "d_ff": 192, "norm": "post"}, {"dtype": "bfloat16"}),
    ({"tie_embeddings": True}, {}),
    ({"tie_embeddings": True, "vocab_size": 5000}, {}),
    ({"vocab_size": 5000}, {}),
    ({"vocab_size": 5000}, {"dtype": "bfloat16"}),
    ({"vocab_size": 5000}, {"num_micro_batches": 2}),
    ({"vocab_size": 20}, {}),
    ({"vocab_size": 20}, {"attention": "plain"}),
    ({"vocab_size": 20}, {"dtype": "bfloat16"}),
    ({"vocab_size": 20, "num_layers": 5}, {}),
    ({"vocab_size": 20, "num_layers": 5, "norm": "post"}, {}),
    ({"vocab_size": 20, "context_length": 160}, {"attention": "plain"}),
    ({"vocab_size": 20, "context_length": 160}, {"attention": "plain", "dtype": "bfloat16"}),
    ({"vocab_size": 20, "d_ff": 16}, {}),
    ({"vocab_size": 20, "d_ff": 16, "qk_norm": True}, {"attention": "plain"}),
    ({"d_model": 128, "d_ff": 512}, {"batch_size": 1, "num_tokens": 4}),
    ({"vocab_size": 20, "context_length": 160}, {"attention": "matmul"}),
    ({"vocab_size": 20, "context_length": 160}, {"attention": "matmul", "dtype": "bfloat16"}),
    ({"vocab_size": 3000}, {"loss": "in-place"}),
    ({"vocab_size": 3000}, {"loss": "in-place", "dtype": "bfloat16"}),
    ({"vocab_size": 3000}, {"loss": "chunked"}),
    ({"vocab_size": 3000, "tie_embeddings": True}, {"loss": "chunked", "dtype": "bfloat16"}),
    ({"vocab_size": 20, "num_layers": 5}, {"checkpointing": True}),
    ({"vocab_size": 20, "num_layers": 5}, {"checkpointing": True, "dtype": "bfloat16"}),
    ({"vocab_size": 20, "num_layers": 5}, {"checkpointing": True, "attention": "matmul"}),
]
"""Changes to the shape and the step."""

_NATIVE = {"attention": "native", "loss": "native"}
_WIDE = {"d_model": 64, "num_layers": 3}  # heads as wide as the kernel knows
NATIVE_CASES: list[tuple[Changes, Changes]] = [
    (_WIDE, _NATIVE),
    (_WIDE, {"attention": "native"}),
    (_WIDE | {"vocab_size": 3000}, _NATIVE),
    (_WIDE | {"vocab_size": 3000}, _NATIVE | {"dtype": "bfloat16"}),
    (_WIDE | {"vocab_size": 20}, _NATIVE | {"dtype": "bfloat16"}),
    (_WIDE | {"vocab_size": 20, "qk_norm": True}, _NATIVE),
    (_WIDE | {"vocab_size": 20, "num_kv_heads": 1}, _NATIVE),
    (_WIDE | {"vocab_size": 20, "qk_norm": True, "num_kv_heads": 2}, _NATIVE),
    (_WIDE | {"vocab_size": 20, "position": "none"}, _NATIVE),
    (_WIDE | {"vocab_size": 20}, _NATIVE | {"checkpointing": True}),
    (_WIDE | {"norm": "post", "tie_embeddings": True}, _NATIVE | {"num_micro_batches": 2}),
]
"""The same for this project's kernels, which need AVX-512 and a C++ compiler."""


def case(switches: Changes, choices: Changes) -> tuple[ModelShape, StepSettings]:
    """Return the shape and the settings of a case."""
    return replace(SHAPE, **switches), StepSettings(**{"batch_size": 4, **choices})


def describe_case(switches: Changes, choices: Changes) -> str:
    """Describe in words what a case changes."""
    words = [f"{key} {value}" for key, value in {**switches, **choices}.items()]
    return ", ".join(words) or "the base"
