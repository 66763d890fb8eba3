"""Sort a model's parameters by whether they decay."""

from typing import Any

from torch import nn

from optim.checks import require_at_least_zero


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Return two optimizer groups: matrices with decay, vectors without.

    Embedding and head are matrices and decay, as in CS336; gains of norms are vectors and do not:
    pulled to zero, a gain would only fight the norm. A tied matrix is listed once. Empty groups
    are left out.

    Args:
        model: any module; frozen parameters are left out.
        weight_decay: of the matrices.

    Raises:
        ValueError: a negative decay, or nothing to train.

    >>> groups = parameter_groups(nn.LayerNorm(3), weight_decay=0.1)
    >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
    [(2, 0.0)]
    """
    require_at_least_zero(weight_decay=weight_decay)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("the model has no parameters that require gradients; unfreeze some")
    groups = (
        {"params": [one for one in trained if one.dim() >= 2], "weight_decay": weight_decay},
        {"params": [one for one in trained if one.dim() < 2], "weight_decay": 0.0},
    )
    return [group for group in groups if group["params"]]
