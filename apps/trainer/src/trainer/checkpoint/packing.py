"""Split a model's or an optimizer's state into tensors and JSON, and rebuild it.

Stage: inside *checkpoints*. Ties are recorded, not copied; whether saved state fits the objects at
hand is decided here, before either is touched. Wrappers such as those of torch.compile and
DataParallel leave no trace in names. Not here: bytes and files.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nn_layers.state_dict import plain_names

_EXTRA = ".extra."  # no state-dict name begins with a dot
_TENSOR, _TUPLE, _MAP, _FLOAT = "tensor", "tuple", "map", "float"
_NAMES_SHOWN = 3


def pack_model(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split a model's state into tensors by state-dict name and a JSON object with the rest.

    Returns:
        Every tensor once, and {"tied": {name: name it shares memory with}, "extra": other state}.
    """
    state = _plain_state(model.state_dict())
    tied = _tied_names(state)
    tensors: dict[str, Tensor] = {}
    extra: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            if name not in tied:
                tensors[name] = value
        else:
            extra[name] = _encode(value, where=_EXTRA + name, tensors=tensors, seen={})
    return tensors, {"tied": tied, "extra": extra}


def unpack_model(
    tensors: Mapping[str, Tensor], rest: Mapping[str, Any], model: nn.Module, *, source: str
) -> dict[str, Any]:
    """Return the state dict for `model`, having checked that it fits.

    Raises:
        ValueError: names, shapes or shared tensors differ; the message names the first ones.
    """
    tied: dict[str, str] = rest.get("tied", {})
    extra: dict[str, Any] = rest.get("extra", {})
    ours = model.state_dict()
    expected = _plain_state(ours)
    state: dict[str, Any] = {name: _decode(value, tensors) for name, value in extra.items()}
    state |= {name: tensor for name, tensor in tensors.items() if not name.startswith(_EXTRA)}
    state |= {name: state[stored] for name, stored in tied.items() if stored in state}
    plain = plain_names(state)
    state = _plain_state(state)
    tied = {plain.get(name, name): plain.get(stored, stored) for name, stored in tied.items()}
    differences = _name_differences(state.keys(), expected.keys())
    differences += _shape_differences(state, expected)
    differences += _tie_differences(tied, _tied_names(expected), state)
    if differences:
        raise ValueError(
            f"{source} is a checkpoint of another model: {'; '.join(differences)}; "
            "build the model with the configuration that was saved"
        )
    return {name: state[short] for name, short in plain_names(ours).items()}


def pack_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimizer's state into tensors and a JSON object with their places."""
    tensors: dict[str, Tensor] = {}
    state = _encode(optimizer.state_dict(), where="state", tensors=tensors, seen={})
    return tensors, {
        "class": type(optimizer).__name__,
        "parameters": _group_names(optimizer, model),
        "state": state,
    }


def unpack_optimizer(
    tensors: Mapping[str, Tensor],
    rest: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    *,
    source: str,
) -> dict[str, Any]:
    """Return the state dict for `optimizer`, having checked that it fits.

    Raises:
        ValueError: the class differs, or its groups hold other parameters.
    """
    if rest["class"] != type(optimizer).__name__:
        raise ValueError(
            f"{source} holds the state of {rest['class']}, but the optimizer is "
            f"{type(optimizer).__name__}; build the one that was saved"
        )
    saved, ours = map(_plain_groups, (rest["parameters"], _group_names(optimizer, model)))
    if saved != ours:
        raise ValueError(
            f"{source} holds an optimizer over other parameters: {_describe_groups(saved, ours)}; "
            "build the parameter groups as they were saved"
        )
    state = _decode(rest["state"], tensors)
    for group in state["param_groups"]:
        if group.get("row_blocks", "") is None:  # a former setting of Muon, which no run used
            del group["row_blocks"]
    return state


@contextmanager
def reading(source: str, *, advice: str = "save it again") -> Iterator[None]:
    """Turn any error from damaged state into a ValueError that names its file."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{source} is damaged: {error!r:.300}; {advice}") from error
    except (ValueError, RuntimeError) as error:  # torch's own is a RuntimeError
        if source in str(error):
            raise
        raise ValueError(f"{source} is damaged: {error}; {advice}") from error


def _encode(value: Any, *, where: str, tensors: dict[str, Tensor], seen: dict[tuple, str]) -> Any:
    """Return `value` as strict JSON; its tensors go into `tensors` under a dotted path.

    `seen` maps memory to the name it was stored under, so that a shared tensor stays shared.
    """

    def inner(item: Any, key: object) -> Any:
        return _encode(item, where=f"{where}.{key}", tensors=tensors, seen=seen)

    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT: str(value)}
    if isinstance(value, Tensor):
        name = seen.setdefault(_memory(value), where) if value.numel() else where
        tensors.setdefault(name, value)
        return {_TENSOR: name}
    if isinstance(value, list):
        return [inner(item, i) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {_TUPLE: [inner(item, i) for i, item in enumerate(value)]}
    if isinstance(value, Mapping):
        # Pairs, not an object: JSON would turn the parameter numbers that are keys into strings.
        return {_MAP: [[_plain_key(key, where), inner(item, key)] for key, item in value.items()]}
    raise ValueError(
        f"{where} is a {type(value).__name__}, but a checkpoint holds only tensors, numbers, "
        "strings, None, lists, tuples and dicts; leave it out of the state or convert it"
    )


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == _TENSOR:
        return tensors[content]
    if kind == _FLOAT:
        return float(content)
    if kind == _TUPLE:
        return tuple(_decode(item, tensors) for item in content)
    if kind != _MAP:
        raise ValueError(f"{kind!r} is not a kind of value")
    return {key: _decode(item, tensors) for key, item in content}


def _plain_key(key: object, where: str) -> int | str:
    if isinstance(key, int | str):
        return key
    raise ValueError(f"{where} has the key {key!r}, but keys must be integers or strings")


def _memory(tensor: Tensor) -> tuple:
    """Identify the elements that a tensor views; equal for two names of one tensor."""
    return (
        tensor.device,
        tensor.untyped_storage().data_ptr(),
        tensor.storage_offset(),
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
    )


def _tied_names(state: Mapping[str, Any]) -> dict[str, str]:
    """Map every further name of a shared tensor to its first name."""
    first: dict[tuple, str] = {}
    tied = {}
    for name, value in state.items():
        if isinstance(value, Tensor) and value.numel():
            stored = first.setdefault(_memory(value), name)
            if stored != name:
                tied[name] = stored
    return tied


def _group_names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[list[str | None]]:
    """Return the names of each group's parameters; None: a parameter the model does not have."""
    by_name = dict(model.named_parameters())
    names = {id(by_name[name]): plain for name, plain in plain_names(by_name).items()}
    return [
        [names.get(id(parameter)) for parameter in group["params"]]
        for group in optimizer.param_groups
    ]


def _plain_groups(groups: list[list[str | None]]) -> list[list[str | None]]:
    """Return groups with the names of parameters without wrappers."""
    plain = plain_names(name for names in groups for name in names if name is not None)
    return [[name if name is None else plain[name] for name in names] for names in groups]


def _plain_state(state: Mapping[str, Any]) -> dict[str, Any]:
    plain = plain_names(state)
    return {plain[name]: value for name, value in state.items()}


def _name_differences(found: Iterable[str], expected: Iterable[str]) -> list[str]:
    found, expected = dict.fromkeys(found), dict.fromkeys(expected)
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    return [
        f"{kind} {_first(names)}"
        for kind, names in (("it lacks", missing), ("the model has no", unexpected))
        if names
    ]


def _shape_differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    both = [
        (name, found[name], ours)
        for name, ours in expected.items()
        if isinstance(ours, Tensor) and isinstance(found.get(name), Tensor)
    ]
    misshapen = [
        f"{name} is {tuple(saved.shape)} and not {tuple(ours.shape)}"
        for name, saved, ours in both
        if saved.shape != ours.shape
    ]
    # Weights may be saved in another floating type, but not as integers.
    mistyped = [
        f"{name} is {saved.dtype} and not {ours.dtype}"
        for name, saved, ours in both
        if saved.is_floating_point() != ours.is_floating_point()
    ]
    return [_first(names) for names in (misshapen, mistyped) if names]


def _tie_differences(
    saved: Mapping[str, str], ours: Mapping[str, str], state: Mapping[str, Any]
) -> list[str]:
    """Two names of one tensor must be one tensor on both sides, or at least hold equal values."""
    apart = [f"{name} and {saved[name]} were one tensor" for name in saved if name not in ours]
    joined = [
        f"{name} and {other} differ, but the model shares them"
        for name, other in ours.items()
        if name not in saved
        and isinstance(state.get(name), Tensor)
        and isinstance(state.get(other), Tensor)
        and not torch.equal(state[name], state[other])
    ]
    return [_first(names) for names in (apart, joined) if names]


def _describe_groups(saved: list[list[str | None]], ours: list[list[str | None]]) -> str:
    if len(saved) != len(ours):
        return f"{len(saved)} groups and not {len(ours)}"
    number = next(i for i, names in enumerate(saved) if names != ours[i])
    saved_names, our_names = (
        [name or "(a parameter outside the model)" for name in groups[number]]
        for groups in (saved, ours)
    )
    differences = _name_differences(saved_names, our_names)
    return f"in group {number} " + ("; ".join(differences) or "their order differs")


def _first(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
