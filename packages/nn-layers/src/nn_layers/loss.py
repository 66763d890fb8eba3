"""Score logits against the tokens that followed: cross entropy and perplexity.

Stage: logits, targets -> *loss* -> gradients. Not here: faster ways (`backends`).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from nn_layers.precision import at_least_float32

IGNORE_INDEX = -100
"""What torch's losses leave out by default; no loss here does."""


def cross_entropy(logits: Float[Tensor, "... v"], targets: Int[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the mean of -log softmax(logits)[target] in nats, at least float32.

    The largest logit is subtracted first, so that no exponential overflows.

    Raises:
        ValueError: shapes that do not match, no targets, or a target of -100 (`ignore_index`).
        RuntimeError: a target outside [0, v).

    >>> cross_entropy(torch.zeros(2, 3, 10), torch.zeros(2, 3, dtype=torch.int64))
    tensor(2.3026)
    """
    check_targets(logits.shape, targets)
    wide = at_least_float32(logits)
    shifted = wide - wide.amax(dim=-1, keepdim=True).detach()
    log_total = shifted.exp().sum(dim=-1).log()
    chosen = shifted.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (log_total - chosen).mean()


def perplexity(logits: Float[Tensor, "... v"], targets: Int[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return exp of the cross entropy: the number of equally likely tokens it amounts to."""
    return cross_entropy(logits, targets).exp()


def check_targets(logits_shape: Sequence[int], targets: Int[Tensor, "..."]) -> None:
    """Insist on one target per vector of logits, at least one, and none of -100."""
    if targets.shape != tuple(logits_shape[:-1]):
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} do not fit logits of shape "
            f"{tuple(logits_shape)}; give one target for each vector of logits"
        )
    if targets.numel() == 0:
        raise ValueError("there are no targets to average over; give at least one")
    refuse_ignore_index(targets)


def refuse_ignore_index(targets: Int[Tensor, "..."]) -> None:
    """Refuse -100, where the targets can be read without waiting: not on a GPU, nor in tracing."""
    if torch.compiler.is_compiling() or targets.device.type != "cpu":
        return
    if type(targets) is not Tensor or is_functorch_wrapped_tensor(targets):
        return
    if num_ignored := int((targets == IGNORE_INDEX).sum()):
        raise ValueError(
            f"{num_ignored} of {targets.numel()} targets are {IGNORE_INDEX}, torch's ignore_index, "
            "which is not supported; leave those positions out of targets and logits (or hidden "
            "states)"
        )
