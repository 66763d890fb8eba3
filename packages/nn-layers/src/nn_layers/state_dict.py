"""Read weights under other spellings: stacked projections, names with wrappers.

Stage: saved weights -> *state dict* -> model. Saving always gives one matrix per projection.
"""

from collections.abc import Iterable, MutableMapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn


def accept_stacked(module: nn.Module, stacked_name: str, parts: Sequence[str]) -> None:
    """Let a module load one matrix `stacked_name` that stacks the rows of its projections."""
    module.register_load_state_dict_pre_hook(partial(_split_stacked, stacked_name, parts))


def _split_stacked(
    stacked_name: str,
    parts: Sequence[str],
    module: nn.Module,
    state_dict: MutableMapping[str, Tensor],
    prefix: str,
    *_: object,
) -> None:
    """Replace a stacked matrix by its parts, if the state dict has one."""
    stacked = state_dict.pop(f"{prefix}{stacked_name}.weight", None)
    if stacked is None:
        return
    rows = [len(module.get_parameter(f"{part}.weight")) for part in parts]
    if len(stacked) != sum(rows):
        raise ValueError(
            f"{prefix}{stacked_name}.weight has {len(stacked)} rows, but {', '.join(parts)} have "
            f"{sum(rows)} together; load the weights of a model of this shape"
        )
    for name, weight in zip(parts, stacked.split(rows), strict=True):
        state_dict[f"{prefix}{name}.weight"] = weight


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Map names of a state dict to those of the model without its wrappers.

    `torch.compile` puts `_orig_mod.` before the names of what it wraps; DataParallel and the like
    put `module.` before all names. If two names would become one, all stay as they are.

    >>> plain_names(["module._orig_mod.head.weight", "module._orig_mod.ln.weight"])
    {'module._orig_mod.head.weight': 'head.weight', 'module._orig_mod.ln.weight': 'ln.weight'}
    """
    names = list(names)
    parts = [[part for part in name.split(".") if part != "_orig_mod"] for name in names]
    while parts and all(len(name) > 1 and name[0] == "module" for name in parts):
        parts = [name[1:] for name in parts]
    plain = [".".join(name) for name in parts]
    return dict(zip(names, plain if len(set(plain)) == len(names) else names, strict=True))


def strip_wrappers(
    module: nn.Module, state_dict: MutableMapping[str, Any], prefix: str, *_: object
) -> None:
    """Rename what was saved from a wrapped model, in place; a hook of `load_state_dict`."""
    spelled = {plain: name for name, plain in plain_names(module.state_dict()).items()}
    for name in [name for name in state_dict if name.startswith(prefix)]:
        parts = [part for part in name.removeprefix(prefix).split(".") if part != "_orig_mod"]
        while parts[0] == "module" and len(parts) > 1:  # no part of our models has that name
            parts = parts[1:]
        plain = ".".join(parts)
        target = prefix + spelled.get(plain, plain)
        if target not in state_dict:
            state_dict[target] = state_dict.pop(name)
