"""Decide what a resumed run may change: how it computes, not what.

Stage: saved and requested configuration -> *differences allowed or refused*. Each field states in
its metadata what a change affects, and a section may state it for all its fields; a field that
states nothing determines what is trained. Not here: how a sitting computed (`sittings.py`).
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainer.config.field_checks import option_name

_KEY = "resumed"

HOW: Mapping[str, object] = {_KEY: "how"}
"""Changes how the result is computed, which stays the same up to rounding."""
BESIDE: Mapping[str, object] = {_KEY: "beside"}
"""Changes what is logged, kept or found where; the weights stay the same, bit for bit."""
LENGTH: Mapping[str, object] = {_KEY: "length"}
"""Changes the length of the run; the steps so far stay the same."""


def how(*names: str) -> Mapping[str, object]:
    """Return metadata for a section of which only the fields `names` may change."""
    return {_KEY: dict.fromkeys(names, "how")}


def changed_options(saved: object, asked: object) -> Iterator[tuple[str, str | None]]:
    """Yield each option that differs, and what that affects: how, beside, length, or None."""
    for (option, old, key), (_, new, _) in zip(_options(saved), _options(asked), strict=True):
        if old != new:
            yield option, key


def require_resumable(saved: object, asked: object, *, run_dir: Path) -> None:
    """Require that a resumed run trains what it began with.

    Raises:
        ValueError: fields differ that determine it; the message names them all.
    """
    refused = sorted(option for option, key in changed_options(saved, asked) if key is None)
    if refused:
        raise ValueError(
            f"{run_dir} resumes with its saved configuration, so these cannot change: "
            f"{', '.join(refused)}; start a new run to change them, or change only "
            f"{', '.join(_names_of_changeable(saved))}"
        )


def _options(
    config: object, section: str = "", answer: object = None
) -> Iterator[tuple[str, object, str | None]]:
    """Yield every option with its value and what changing it affects."""
    for spec in dataclasses.fields(config):  # type: ignore[arg-type]
        own = answer.get(spec.name) if isinstance(answer, Mapping) else answer
        own = spec.metadata.get(_KEY, own)
        option, value = option_name(section, spec.name), getattr(config, spec.name)
        if dataclasses.is_dataclass(value):
            yield from _options(value, option, own)
        else:
            yield option, value, own


def _names_of_changeable(config: object) -> Iterator[str]:
    """Yield the options that may change, then the sections that may change as a whole."""
    whole = [
        spec.name
        for spec in dataclasses.fields(config)  # type: ignore[arg-type]
        if dataclasses.is_dataclass(getattr(config, spec.name))
        and isinstance(spec.metadata.get(_KEY), str)
    ]
    for option, _, key in _options(config):
        if key is not None and option.split(".")[0] not in whole:
            yield option
    yield from whole
