"""Say which parameters decay.

Stage: model -> *groups* -> optimizer.
"""

from typing import Any

from torch import nn

from optim._validation import require_non_negative


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Split a model's trainable parameters into those that decay and those that do not.

    Parameters of two axes or more decay: the weights of linear maps, and token embeddings, which
    are matrices too and may be tied to the output head. Vectors and scalars do not: pulling a
    norm's gain or a bias towards zero changes the function without making it simpler.

    Args:
        model: frozen parameters are left out, shared ones listed once.
        weight_decay: of the matrices, >= 0.

    Returns:
        Groups for any torch optimizer, the decayed one first; a group without members is left out.

    Raises:
        ValueError: no trainable parameter, or a negative decay.

    >>> layer = nn.Linear(3, 2)
    >>> for group in parameter_groups(layer, weight_decay=0.1):
    ...     print([tuple(p.shape) for p in group["params"]], group["weight_decay"])
    [(2, 3)] 0.1
    [(2,)] 0.0
    """
    require_non_negative("weight_decay", weight_decay)
    # `parameters()` yields a shared parameter once.
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError(
            f"{type(model).__name__} has no trainable parameter, but an optimizer needs one; "
            "unfreeze what should learn"
        )
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
