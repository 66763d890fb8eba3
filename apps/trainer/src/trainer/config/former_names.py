"""Translate the former names of fields.

Stage: a name or document from an earlier version -> *current names*. Saved configurations are
translated; in options and presets, a former name is refused with the current one.
"""

from typing import Any

_NEW_NAMES = {
    "optimizer.beta1": "optimizer.adamw.beta1",
    "optimizer.beta2": "optimizer.adamw.beta2",
    "optimizer.eps": "optimizer.adamw.eps",
    "optimizer.muon_learning_rate": "optimizer.muon.learning_rate",
    "optimizer.muon_momentum": "optimizer.muon.momentum",
    "optimizer.muon_scale": "optimizer.muon.scale",
}


def current_name(name: str) -> str:
    """Return the current name of a field, spelled with - or _ as given.

    >>> current_name("optimizer.muon-scale"), current_name("optimizer.name")
    ('optimizer.muon.scale', 'optimizer.name')
    """
    new = _NEW_NAMES.get(name.replace("-", "_"))
    if new is None:
        return name
    return new.replace("_", "-") if "-" in name else new


def require_current_name(name: str, *, origin: str = "") -> None:
    """Refuse the former name of a field or option; the message gives the current one.

    Raises:
        ValueError: `name` is a former one.
    """
    bare = name.removeprefix("--")
    new = current_name(bare)
    if new != bare:
        raise ValueError(f"{origin}{name} is now {name.removesuffix(bare)}{new}; use that")


def rename_former_keys(document: dict[str, Any]) -> None:
    """Move the values of a saved configuration to their current names."""
    for old, new in _NEW_NAMES.items():
        section, name = old.split(".")
        _, inner, field = new.split(".")
        table = document.get(section)
        if isinstance(table, dict) and name in table:
            own = table.setdefault(inner, {})
            if isinstance(own, dict):  # anything else is refused later, as not a table
                own[field] = table.pop(name)
