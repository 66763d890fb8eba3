"""Count the arithmetic and state of an optimizer's update.

Stage: shape -> *FLOPs and bytes of an update*. AdamW and SGD multiply no matrices, so a counter of
matrix products sees 0; for them, additions, multiplications, divisions and roots are counted per
number. Muon's Newton-Schulz steps are matrix products, which a counter sees.
"""

from dataclasses import dataclass

from accounting.parameters import Weight, list_weights
from accounting.shape import ModelShape
from accounting.step import Optimizer, find_optimizer

CLIPPING_FLOPS = 3
"""Elementwise, for each number: clipping squares, adds and scales."""
ADAMW_COUNT = (
    "decay 1 (times 1 - lr decay); m 3 (two products, a sum); v 4 (three products, a sum); "
    "step 6 (root, / bias of v, + eps, m / that, * lr / bias of m, subtract)"
)
"""AdamW's operations, line by line. CS336's Algorithm 1 has 14 as well: its decay takes 2 (a
product, a subtraction), and its step 5 (both bias corrections are in its rate)."""
NEWTON_SCHULZ_STEPS = 5
_FLOAT32 = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerCost:
    """One update of all parameters."""

    elementwise_flops: int
    """Clipping included; no counter of matrix products sees them."""
    clipping_flops: int
    """Clipping's part of them."""
    matrix_flops: int
    """By the counter convention."""
    state_bytes: int
    """Moments in float32; step counters left out."""


def optimizer_cost(shape: ModelShape, optimizer: Optimizer | str) -> OptimizerCost:
    """Count one update by an optimizer, or by one of `step.OPTIMIZERS`.

    Muon orthogonalises the matrices between embedding and head, and AdamW updates everything else.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

    >>> from accounting import PRESETS
    >>> cost = optimizer_cost(PRESETS["cs336-2026-xl"], "adamw")
    >>> cost.state_bytes == 8 * 1_640_452_800
    True
    >>> cost.elementwise_flops - cost.clipping_flops == 14 * 1_640_452_800
    True
    """
    found = find_optimizer(optimizer)
    weights = [(one, found.rule_of(is_hidden=is_hidden_matrix(one))) for one in list_weights(shape)]
    clipping = CLIPPING_FLOPS * sum(one.count for one, _ in weights)
    return OptimizerCost(
        elementwise_flops=clipping + sum(rule.flops * one.count for one, rule in weights),
        clipping_flops=clipping,
        matrix_flops=sum(
            newton_schulz_flops(*one.shape) for one, rule in weights if rule.is_orthogonalized
        ),
        state_bytes=_FLOAT32 * sum(len(rule.state) * one.count for one, rule in weights),
    )


def newton_schulz_flops(rows: int, columns: int, *, steps: int = NEWTON_SCHULZ_STEPS) -> int:
    """Count the products that orthogonalise one matrix, the smaller side m squared.

    X X^T and its product with X take 2 m m n each, the square of X X^T 2 m^3.

    >>> newton_schulz_flops(2, 3, steps=1)
    64
    """
    m, n = sorted((rows, columns))
    return steps * (4 * m * m * n + 2 * m**3)


def is_hidden_matrix(weight: Weight) -> bool:
    """Whether it is a matrix between embedding and head."""
    return len(weight.shape) == 2 and weight.name.startswith("layers.")
