"""Define where a search engine may look for better values, and reject invalid spaces.

Stage: `FIELD=VALUES` -> *space* -> engine. A list is a choice among its values; a range without a
count is continuous, or every integer if both ends are integers. Not here: the engine.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.config.field_checks import is_number
from trainer.config.run_config import RunConfig
from trainer.experiments.grid import FORMS, Over, grid, parse_over, read_value, trial_at

_RANGE = re.compile(r"(?P<low>[^,:]+?)\.\.(?P<high>[^.,:][^,:]*)(?::(?P<kind>log|linear))?")
_MAX_CORNERS = 256


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
    fields = [axis.field for axis in space]
    if not space or len(set(fields)) < len(fields):
        raise ValueError(
            f"a search needs one or more --over, all of different fields; given {fields}"
        )
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
    if match is None:
        over = parse_over(text)
        if over.goes_on:
            raise ValueError(f"--over {text!r} has no end, but a search needs one; list all values")
        return over
    low, high = read_value(match["low"]), read_value(match["high"])
    is_log = match["kind"] == "log"
    if (
        not (is_number(low) and is_number(high) and low < high)
        or not field
        or (is_log and low <= 0)
    ):
        needed = "0 < LOW < HIGH" if is_log else "LOW < HIGH"
        raise ValueError(
            f"--over {text!r} needs {needed}; write FIELD=LOW..HIGH:log, FIELD=LOW..HIGH:linear or "
            f"{FORMS}"
        )
    return Between(field.strip().replace("_", "-"), low, high, is_log)
