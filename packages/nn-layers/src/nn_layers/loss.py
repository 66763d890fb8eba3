"""Score logits against the tokens that came: cross entropy and perplexity."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from nn_layers.precision import at_least_float32


def cross_entropy(logits: Float[Tensor, "... v"], targets: Int[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the mean of -log softmax(logits)[target], in nats.

    The largest logit is subtracted first, so no exponential overflows; computed in at least
    float32.

    Args:
        logits: (..., v); unnormalised.
        targets: (...) ids in [0, v).

    Returns:
        () at least float32.

    Raises:
        ValueError: logits and targets that do not belong together, or nothing to average.

    >>> import torch
    >>> cross_entropy(torch.zeros(2, 3, 10), torch.zeros(2, 3, dtype=torch.int64))
    tensor(2.3026)
    """
    check_targets(logits.shape, targets)
    wide = at_least_float32(logits)
    shifted = wide - wide.amax(dim=-1, keepdim=True).detach()
    log_total = shifted.exp().sum(dim=-1).log()
    chosen = shifted.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (log_total - chosen).mean()


def check_targets(logits_shape: Sequence[int], targets: Int[Tensor, "..."]) -> None:
    """Insist on one target for each vector of logits, and on at least one.

    Raises:
        ValueError: another shape, or no target.
    """
    if targets.shape != tuple(logits_shape[:-1]):
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} do not fit logits of shape "
            f"{tuple(logits_shape)}; give one target for each vector of logits"
        )
    if targets.numel() == 0:
        raise ValueError("there are no targets to average over; give at least one")


def perplexity(logits: Float[Tensor, "... v"], targets: Int[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return exp of the cross entropy: the number of equally likely tokens it amounts to."""
    return cross_entropy(logits, targets).exp()
