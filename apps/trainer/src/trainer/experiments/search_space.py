"""Define where a search engine may look for better values, and reject invalid spaces.

Stage: `FIELD=VALUES` -> *space* -> engine. A list is a choice among its values; a range without a
count is continuous, or every integer if both ends are integers. Not here: the engine.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.config.run_config import RunConfig
from trainer.experiments.grid import (
    FORMS,
    Over,
    grid,
    parse_over,
    read_ends,
    require_distinct,
    trial_at,
)

_RANGE = re.compile(r"(?P<low>[^,:]+?)\.\.(?P<high>[^.,:][^,:]*)(?::(?P<kind>log|linear))?")
_MAX_CORNERS = 256
_FORMS = f"FIELD=LOW..HIGH:log, FIELD=LOW..HIGH:linear or {FORMS}"


@dataclass(frozen=True, slots=True)
class Between:
    """A field that may take any value from `low` to `high`."""

    field: str
    """`section.field`, as on the command line."""
    low: int | float
    high: int | float
    is_log: bool

    @property
    def text(self) -> str:
        """The range, as on the command line."""
        return f"{self.low!r}..{self.high!r}:{'log' if self.is_log else 'linear'}"


Space = tuple[Over | Between, ...]


def parse_space(texts: Sequence[str], base: RunConfig) -> Space:
    """Read `FIELD=VALUES` for each field.

    Raises:
        ValueError: as `parse_over`; an invalid range; a repeated field; ends of ranges, or a
            combination of them and choices, that are invalid.

    >>> from trainer.config.presets import load_preset
    >>> [rate] = parse_space(["optimizer.learning-rate=1e-4..1e-1:log"], load_preset("quickstart"))
    >>> rate.text
    '0.0001..0.1:log'
    """
    space = tuple(_axis(text) for text in texts)
    require_distinct([axis.field for axis in space])
    ends = [
        axis if isinstance(axis, Over) else Over(axis.field, (axis.low, axis.high))
        for axis in space
    ]
    for corner in grid(ends)[:_MAX_CORNERS]:
        trial_at(base, corner)  # raises if it is invalid
    return space


def describe_space(space: Space) -> dict[str, str]:
    """Return field -> values as text, which is equal for equal spaces."""
    return {
        axis.field: axis.text if isinstance(axis, Between) else ",".join(map(repr, axis.values))
        for axis in space
    }


def _axis(text: str) -> Over | Between:
    field, _, listed = text.partition("=")
    match = _RANGE.fullmatch(listed)
    if match is None or not field:
        over = parse_over(text)
        if over.goes_on:
            raise ValueError(f"--over {text!r} has no end, but a search needs one; list all values")
        return over
    low, high, is_log = read_ends(f"--over {text!r}", match, forms=_FORMS)
    return Between(field.strip().replace("_", "-"), low, high, is_log)
