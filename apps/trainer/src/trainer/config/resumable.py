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


def how(*names: str) -> Mapping[str, object]:
    """Return the answer of a section whose fields `names` change how the same is computed."""
    return {_KEY: dict.fromkeys(names, "how")}


def changed_options(saved: object, asked: object) -> Iterator[tuple[str, str | None]]:
    """Yield every option that differs, with its answer: how, beside, length, or None."""
    for (option, old, key), (_, new, _) in zip(_options(saved), _options(asked), strict=True):
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


def _options(
    config: object, section: str = "", answer: object = None
) -> Iterator[tuple[str, object, str | None]]:
    """Yield every option with its value and its answer, which a section may give for its fields."""
    for spec in dataclasses.fields(config):  # type: ignore[arg-type]
        own = answer.get(spec.name) if isinstance(answer, Mapping) else answer
        own = spec.metadata.get(_KEY, own)
        option, value = option_name(section, spec.name), getattr(config, spec.name)
        if dataclasses.is_dataclass(value):
            yield from _options(value, option, own)
        else:
            yield option, value, own


def _names_of_changeable(config: object) -> Iterator[str]:
    """Yield single options that may change, and sections that may change as a whole."""
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
