"""Score logits against the tokens that came: cross entropy and perplexity."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from nn_layers.precision import at_least_float32

IGNORE_INDEX = -100
"""What torch's losses leave out by default; no loss here does."""


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
        ValueError: logits and targets that do not belong together, nothing to average, or a target
            of -100: there is no ignore_index.
        RuntimeError: another target that is no id, and under torch.compile any; CUDA reports it
            later.

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
    """Insist on one target for each vector of logits, on at least one, and on none to be ignored.

    Raises:
        ValueError: another shape, no target, or a target of -100.
    """
    if targets.shape != tuple(logits_shape[:-1]):
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} do not fit logits of shape "
            f"{tuple(logits_shape)}; give one target for each vector of logits"
        )
    if targets.numel() == 0:
        raise ValueError("there are no targets to average over; give at least one")
    refuse_ignore_index(targets)


def refuse_ignore_index(targets: Int[Tensor, "..."]) -> None:
    """Refuse -100, where a look at the targets is possible without waiting.

    Not looked at are those of another device, of torch.compile, and of a transform such as vmap.

    Raises:
        ValueError: a target is -100.
    """
    if torch.compiler.is_compiling() or targets.device.type != "cpu":
        return
    if type(targets) is not Tensor or is_functorch_wrapped_tensor(targets):
        return
    num_ignored = int((targets == IGNORE_INDEX).sum())
    if num_ignored:
        raise ValueError(
            f"{num_ignored} of {targets.numel()} targets are {IGNORE_INDEX}, torch's ignore_index, "
            "which is not supported; leave those positions out of targets and logits (or hidden "
            "states)"
        )


def perplexity(logits: Float[Tensor, "... v"], targets: Int[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return exp of the cross entropy: the number of equally likely tokens it amounts to."""
    return cross_entropy(logits, targets).exp()
