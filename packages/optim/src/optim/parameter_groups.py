"""Sort a model's parameters by weight decay and by update rule.

Stage: model -> *groups* -> optimizer. Not here: the rules themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from optim.checks import require_at_least_zero


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Return two optimizer groups: matrices with decay, vectors without.

    Embedding and head are matrices and decay, as in CS336. Gains of norms are vectors and do not
    decay: a gain pulled to zero would only work against the norm. A tied matrix is listed once, and
    empty groups are left out.

    Args:
        model: any module; frozen parameters are left out.
        weight_decay: of the matrices.

    Raises:
        ValueError: a negative decay, or nothing to train.

    >>> groups = parameter_groups(nn.LayerNorm(3), weight_decay=0.1)
    >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
    [(2, 0.0)]
    """
    trained = _trained(model, weight_decay=weight_decay).values()
    groups = (
        {"params": [one for one in trained if one.dim() >= 2], "weight_decay": weight_decay},
        {"params": [one for one in trained if one.dim() < 2], "weight_decay": 0.0},
    )
    return [group for group in groups if group["params"]]


def muon_groups(
    model: nn.Module, *, weight_decay: float, ends: Sequence[str] = ("token_embeddings", "lm_head")
) -> list[dict[str, Any]]:
    """Return groups for `Muon`: hidden matrices for Muon, other matrices and vectors for AdamW.

    Each row of the embedding and the head belongs to one token and sees few gradients, so there are
    no directions to balance. Matrices decay, vectors do not. A tied matrix is listed once, and
    empty groups are left out.

    Args:
        model: any module; frozen parameters are left out.
        weight_decay: of all matrices.
        ends: modules, or parameters, whose matrices are not hidden; parts of dotted names.

    Raises:
        ValueError: a negative decay, nothing to train, or a name that no parameter has.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

    >>> model = nn.ModuleDict({"lm_head": nn.Linear(2, 5), "hidden": nn.Linear(2, 2)})
    >>> groups = muon_groups(model, weight_decay=0.1, ends=["lm_head"])
    >>> [(group["rule"], len(group["params"]), group["weight_decay"]) for group in groups]
    [('adamw', 1, 0.1), ('adamw', 2, 0.0), ('muon', 1, 0.1)]
    """
    trained = _trained(model, weight_decay=weight_decay)
    outer = _named(trained, ends)
    matrices = {name: one for name, one in trained.items() if one.dim() >= 2}
    others = [one for name, one in matrices.items() if name in outer]
    vectors = [one for one in trained.values() if one.dim() < 2]
    hidden = [one for name, one in matrices.items() if name not in outer]
    groups = (
        {"params": others, "weight_decay": weight_decay, "rule": "adamw"},
        {"params": vectors, "weight_decay": 0.0, "rule": "adamw"},
        {"params": hidden, "weight_decay": weight_decay, "rule": "muon"},
    )
    return [group for group in groups if group["params"]]


def _trained(model: nn.Module, *, weight_decay: float) -> dict[str, nn.Parameter]:
    """Return the parameters that require gradients by name, having checked the decay."""
    require_at_least_zero(weight_decay=weight_decay)
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    if not trained:
        raise ValueError("the model has no parameters that require gradients; unfreeze some")
    return trained


def _named(parameters: Mapping[str, nn.Parameter], parts: Sequence[str]) -> set[str]:
    found = {name for name in parameters if not set(parts).isdisjoint(name.split("."))}
    if parts and not found:
        shown = ", ".join(list(parameters)[:5])
        raise ValueError(
            f"no parameter is part of {' or '.join(map(repr, parts))}, which was named to be "
            f"treated apart; name modules of the model: its parameters are {shown}, ..."
        )
    return found
