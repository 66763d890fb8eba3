"""Predict, to the byte, the safetensors files of a checkpoint.

Stage: shape, optimizer's groups -> *bytes on disk* -> estimate. Text files (configuration,
progress, manifest: a few kilobytes) are not counted. Not here: how the files are written
(`checkpoint/`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from accounting import ModelShape
from accounting.disk import safetensors_bytes, weights_file_bytes
from accounting.optimizer import is_hidden_matrix
from accounting.parameters import Weight, list_weights
from accounting.step import Optimizer, find_optimizer


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that an optimizer treats alike, with its settings as torch saves them."""

    weights: Sequence[Weight]
    settings: Mapping[str, Any]


def model_file_bytes(shape: ModelShape) -> int:
    """Return the size of `model.safetensors`."""
    model = json.dumps({"tied": {}, "extra": {}})
    return weights_file_bytes(shape, {"format": "pt", "model": model})


def optimizer_file_bytes(groups: Sequence[Group], optimizer: Optimizer | str) -> int:
    """Return the size of `optimizer.safetensors` once every parameter has been updated.

    The groups hold every setting that torch saves, in order, with the digits of that step's rate.
    """
    known = find_optimizer(optimizer)
    tensors: dict[str, tuple[int, ...]] = {}
    states, listed, names, first = [], [], [], 0
    for group in groups:
        for index, weight in enumerate(group.weights, start=first):
            state = _state(weight, known)
            tensors |= {f"state.state.{index}.{key}": dims for key, dims in state.items()}
            pairs = [[key, {"tensor": f"state.state.{index}.{key}"}] for key in state]
            if state:
                states.append([index, {"map": pairs}])
        indices = list(range(first, first + len(group.weights)))
        pairs = [[key, _encoded(value)] for key, value in group.settings.items()]
        listed.append({"map": [*pairs, ["params", indices]]})
        names.append([f"{weight.name}.weight" for weight in group.weights])
        first += len(group.weights)
    state = {"map": [["state", {"map": states}], ["param_groups", listed]]}
    rest = {"class": known.name, "parameters": names, "state": state}
    metadata = {"format": "trainer.optimizer", "version": "1", "optimizer": json.dumps(rest)}
    return safetensors_bytes(tensors, metadata)


def saved_groups(
    shape: ModelShape, model: nn.Module, optimizer: torch.optim.Optimizer, *, learning_rate: float
) -> list[Group]:
    """Return an optimizer's groups as a checkpoint has them after an update at `learning_rate`."""
    weights = {weight.name: weight for weight in list_weights(shape)}
    names = {id(one): name.removesuffix(".weight") for name, one in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        settings = {key: value for key, value in group.items() if key != "params"}
        settings["lr"] = learning_rate * group.get("peak_ratio", 1.0)
        groups.append(Group([weights[names[id(one)]] for one in group["params"]], settings))
    return groups


def _state(weight: Weight, optimizer: Optimizer) -> dict[str, tuple[int, ...]]:
    rule = optimizer.rule_of(is_hidden=is_hidden_matrix(weight))
    count: dict[str, tuple[int, ...]] = {"step": ()} if rule.is_counted else {}
    return count | dict.fromkeys(rule.state, weight.shape)


def _encoded(value: Any) -> Any:
    return {"tuple": list(value)} if isinstance(value, tuple) else value
