"""Check that the optimizer can make its next step with a saved state.

Stage: checkpoint -> state dict -> *check* -> optimizer. Otherwise a tensor of another shape or a
rate that is a list would fail at the first step, without the name of its file. Not here: whether
the state belongs to the same parameters (`packing.py`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config.field_checks import is_number


def require_usable(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Insist on settings of the kinds that the optimizer has, and on the tensors that it makes.

    Args:
        state: the `state_dict` of an optimizer over equal parameters.
        optimizer: steps without a closure; it is not changed.

    Raises:
        ValueError: a setting or a tensor is of another kind, or a number is NaN or negative.
    """
    groups = zip(state["param_groups"], optimizer.param_groups, strict=True)
    for number, (saved, ours) in enumerate(groups):
        _require_settings(saved, ours, where=f"group {number}")
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    expected = dict(zip(numbers, _states_after_a_step(optimizer), strict=True))
    if unknown := state["state"].keys() - expected.keys():
        raise ValueError(f"there is state of the parameters {sorted(unknown)}, which no group has")
    for number, values in state["state"].items():
        _require_tensors(values, expected[number], where=f"parameter {number}")


def _states_after_a_step(optimizer: torch.optim.Optimizer) -> Iterator[dict[str, Any]]:
    """Yield each parameter's state after a step of a twin without memory."""
    groups = [
        group | {"params": [nn.Parameter(_without_memory(one)) for one in group["params"]]}
        for group in optimizer.param_groups
    ]
    for group in groups:
        for parameter in group["params"]:
            parameter.grad = _without_memory(parameter)
    twin = type(optimizer)(groups)  # pyright: ignore[reportCallIssue]  # defaults: the base's only
    twin.step()
    for group in twin.param_groups:
        yield from (twin.state[parameter] for parameter in group["params"])


def _without_memory(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


def _require_settings(saved: Mapping[str, Any], ours: Mapping[str, Any], *, where: str) -> None:
    if saved.keys() != ours.keys():
        raise ValueError(f"{where} has the settings {sorted(saved)}, but {sorted(ours)} are needed")
    for name, value in ours.items():
        if name != "params" and not _is_alike(saved[name], value):
            raise ValueError(f"{name} of {where} is {saved[name]!r:.100}, in place of {value!r}")


def _require_tensors(saved: Mapping[str, Any], ours: Mapping[str, Any], *, where: str) -> None:
    if saved and saved.keys() != ours.keys():  # empty before the first gradient
        raise ValueError(f"{where} has the state {sorted(saved)}, but {sorted(ours)} are needed")
    for name, value in saved.items():
        if not _is_alike(value, ours[name]):
            found, wanted = _describe(value), _describe(ours[name])
            raise ValueError(f"{name} of {where} is {found}, but must be {wanted}")
        if name == "step" and not _is_count(float(value)):
            raise ValueError(f"{name} of {where} is {float(value)}, but counts updates")


def _is_alike(saved: object, ours: object) -> bool:
    """Whether one can replace the other; counts and rates are never negative."""
    if isinstance(ours, Tensor):
        return isinstance(saved, Tensor) and _describe(saved) == _describe(ours)
    if isinstance(ours, list | tuple):
        return (
            type(saved) is type(ours)
            and len(saved) == len(ours)
            and all(map(_is_alike, saved, ours))
        )
    if isinstance(ours, int | float) and not isinstance(ours, bool):
        return _is_count(saved)
    return type(saved) is type(ours)


def _is_count(value: object) -> bool:
    return is_number(value) and value >= 0


def _describe(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"{value!r:.100}"
    return f"{value.dtype} of shape {tuple(value.shape)}"
