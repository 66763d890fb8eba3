"""Say what a resumed run may change: how it computes, not what.

Stage: under a run's configuration, and between a saved one and the one that is asked for. Each
field carries its own answer, as metadata; a section's answer holds for all its fields. A field
without one decides what is trained. Not here: how a sitting computed (`sittings.py`).
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainer.config.field_checks import option_name

_KEY = "resumed"

HOW: Mapping[str, object] = {_KEY: "how"}
"""Changes how the same thing is computed: the result is the same up to rounding."""
BESIDE: Mapping[str, object] = {_KEY: "beside"}
"""Changes what is watched, kept or found where: the weights are the same, bit for bit."""
LENGTH: Mapping[str, object] = {_KEY: "length"}
"""Changes how long it goes on: the steps made so far are the same."""


def changed_options(saved: object, asked: object) -> Iterator[tuple[str, str | None]]:
    """Yield every option that differs, with its answer: how, beside, length, or None."""
    for option, spec, section, key in _options(saved):
        old, new = (_value(config, section, spec.name) for config in (saved, asked))
        if old != new:
            yield option, key


def require_resumable(saved: object, asked: object, *, run_dir: Path) -> None:
    """Insist that a resumed run trains what it began with.

    Raises:
        ValueError: fields differ that decide that; the message names all of them.
    """
    refused = sorted(option for option, key in changed_options(saved, asked) if key is None)
    if refused:
        raise ValueError(
            f"{run_dir} is resumed with its saved configuration, so these cannot change: "
            f"{', '.join(refused)}; start a new run with them; a resumed run may change "
            f"{', '.join(_names_of_changeable(saved))}"
        )


def _options(config: object) -> Iterator[tuple[str, dataclasses.Field, str, str | None]]:
    for spec in dataclasses.fields(config):  # type: ignore[arg-type]
        key = spec.metadata.get(_KEY)
        inner = getattr(config, spec.name)
        if not dataclasses.is_dataclass(inner):
            yield option_name("", spec.name), spec, "", key
            continue
        for item in dataclasses.fields(inner):
            own = item.metadata.get(_KEY, key)
            yield option_name(spec.name, item.name), item, spec.name, own


def _value(config: object, section: str, name: str) -> object:
    return getattr(getattr(config, section) if section else config, name)


def _names_of_changeable(config: object) -> Iterator[str]:
    """Yield sections that may change as a whole, and single options of the others."""
    whole = [spec.name for spec in dataclasses.fields(config) if _KEY in spec.metadata]  # type: ignore[arg-type]
    for option, _, section, key in _options(config):
        if key is not None and section not in whole:
            yield option
    yield from (name for name in whole if dataclasses.is_dataclass(getattr(config, name)))
