"""Divide a budget between model size and tokens by Chinchilla's three fits.

Stage: FLOPs -> *parameters, tokens* -> plans. The fits were made on web text for models from 70
million to 16 billion parameters and C = 6 N D. For smaller models they extrapolate, and disagree.

Source: Hoffmann et al. 2022, "Training compute-optimal large language models", arXiv:2203.15556.
Epochs: Muennighoff et al. 2023, "Scaling data-constrained language models", arXiv:2305.16264.
"""

import math
from dataclasses import dataclass
from typing import Literal

Approach = Literal["training-curves", "isoflop", "parametric"]

# Approach 3, equation 10 with the values of appendix D.3: L = E + A / N^alpha + B / D^beta.
E, A, B, ALPHA, BETA = 1.69, 406.4, 410.7, 0.34, 0.28
# Approaches 1 and 2: N grows as C^a (table 2), through the row of 1 billion parameters (tables 3
# and A3).
_POWER_LAWS: dict[Approach, tuple[float, float]] = {
    "training-curves": (0.50, 1.21e20),
    "isoflop": (0.49, 1.20e20),
}
APPROACHES: tuple[Approach, ...] = ("training-curves", "isoflop", "parametric")
_REPEATS_WORTH = 15.39
"""Epochs after the first beyond which more add little (Muennighoff et al., section 5)."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """A budget, divided between size and data."""

    approach: Approach
    parameters: float
    tokens: float

    @property
    def tokens_per_parameter(self) -> float:
        """Tokens per parameter, 20 by the rule of thumb."""
        return self.tokens / self.parameters


def optimal_allocation(flops: float, approach: Approach) -> Allocation:
    """Divide a budget of training FLOPs, counted as 6 N D.

    Args:
        flops: FLOPs of forward and backward pass of all tokens.
        approach: the fit: "training-curves" is the paper's approach 1, "isoflop" 2,
            "parametric" 3.

    >>> best = optimal_allocation(1.21e20, "training-curves")
    >>> f"{best.parameters:.3g} parameters, {best.tokens:.3g} tokens"
    '1e+09 parameters, 2.02e+10 tokens'
    """
    if not 0 < flops < math.inf:
        raise ValueError(f"the budget is {flops} FLOPs, but must be positive and finite")
    if approach == "parametric":
        ratio = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
        parameters = ratio * (flops / 6) ** (BETA / (ALPHA + BETA))
    else:
        exponent, flops_of_a_billion = _POWER_LAWS[approach]
        parameters = 1e9 * (flops / flops_of_a_billion) ** exponent
    return Allocation(approach, parameters, flops / 6 / parameters)


def predicted_loss(parameters: float, tokens: float) -> float:
    """Return the parametric fit's loss in nats per token, for its own text and tokenizer.

    >>> round(predicted_loss(70e9, 1.4e12), 3)
    1.937
    """
    return E + A / parameters**ALPHA + B / tokens**BETA


def effective_tokens(tokens: float, *, unique_tokens: float) -> float:
    """Return how many new tokens are worth as much as these, some of which repeat.

    D' = U + U R (1 - exp(-r / R)) with r the epochs after the first and R = 15.39.

    >>> effective_tokens(100, unique_tokens=200)
    100
    >>> round(effective_tokens(4e9, unique_tokens=1e9) / 4e9, 2)
    0.93
    """
    if tokens <= unique_tokens:
        return tokens
    repeats = tokens / unique_tokens - 1
    return unique_tokens * (1 + _REPEATS_WORTH * (1 - math.exp(-repeats / _REPEATS_WORTH)))
