"""Parse the values of a sweep and build its grid of trials.

Stage: `FIELD=VALUES` -> *trials* -> study. A field is any field of the configuration, named as on
the command line; values are a list, or a range with spacing and count. Not here: the extent of a
list with `...` (`open_ended.py`).
"""

import itertools
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.config.field_checks import is_number
from trainer.config.presets import with_values
from trainer.config.run_config import RunConfig
from trainer.experiments.study import Trial, safe_name

_RANGE = re.compile(
    r"(?P<low>[^.,:]+(?:\.\d[^.,:]*)?)\.\.(?P<high>[^,:]+):(?P<kind>[^,:]*):(?P<count>\d+)"
)
FORMS = "FIELD=VALUE,VALUE, FIELD=LOW..HIGH:log:COUNT or FIELD=LOW..HIGH:linear:COUNT"


@dataclass(frozen=True, slots=True)
class Over:
    """One axis of a sweep."""

    field: str
    """`section.field`, as on the command line."""
    values: tuple[Any, ...]
    """TOML values, all different."""
    goes_on: bool = False
    """Whether the list continues by the ratio of its last two values, as far as memory allows."""
    last: int | float | None = None
    """Upper limit of such a list; None: only memory limits it."""


def parse_over(text: str, *, option: str = "--over") -> Over:
    """Read `FIELD=VALUES`.

    Args:
        text: as on the command line.
        option: named in messages.

    Raises:
        ValueError: it is neither a list nor a range, is empty, repeats a value, or continues from
            values that do not increase.

    >>> parse_over("training.batch-size=1,8,64").values
    (1, 8, 64)
    >>> parse_over("optimizer.learning-rate=1e-4..1e-1:log:4").values
    (0.0001, 0.001, 0.01, 0.1)
    >>> parse_over("model.position=rope,none").values
    ('rope', 'none')
    >>> parse_over("training.batch-size=1,8,64,128,...,1024")
    Over(field='training.batch-size', values=(1, 8, 64, 128), goes_on=True, last=1024)
    """
    said = f"{option} {text!r}"
    field, separator, listed = text.partition("=")
    if not separator or not field or not listed:
        raise ValueError(f"{said} names no values; write {FORMS}")
    words = [word.strip() for word in listed.split(",")]
    last = None
    if goes_on := "..." in words:
        words, last = _cut_at_dots(said, words)
    if ".." in listed and not goes_on:
        values = _range(said, listed)
    else:
        values = tuple(read_value(word) for word in words)
    if "" in values:
        raise ValueError(f"{said} has an empty value; write {FORMS}")
    if len(set(map(repr, values))) < len(values):
        raise ValueError(f"{said} repeats a value; list each value once")
    if goes_on:
        _require_rising(said, values, last)
    return Over(field.strip().replace("_", "-"), values, goes_on, last)


def sweep(
    base: RunConfig,
    overs: Sequence[Over],
    *,
    num_seeds: int = 1,
    is_equal_tokens: bool = True,
) -> list[Trial]:
    """Return the trials of the whole grid, the last axis fastest, seeds fastest of all.

    Args:
        base: the configuration that every trial starts from.
        overs: the axes.
        num_seeds: seeds base.seed, base.seed + 1, ... of every point.
        is_equal_tokens: if the batch size is swept, give every trial as many training and warm-up
            tokens as `base`.

    Raises:
        ValueError: no axis, a repeated field, an unknown field, an invalid value.
    """
    require_distinct([over.field for over in overs])
    seeds = range(base.seed, base.seed + num_seeds) if num_seeds > 1 else [None]
    return [
        trial_at(base, point, seed=seed, is_equal_tokens=is_equal_tokens)
        for point in grid(overs)
        for seed in seeds
    ]


def require_distinct(fields: Sequence[str]) -> None:
    """Raise ValueError unless there are fields, all different."""
    if not fields or len(set(fields)) < len(fields):
        raise ValueError(f"need one or more --over, all of different fields; given {fields}")


def grid(overs: Sequence[Over]) -> list[dict[str, object]]:
    """Return every combination of values as field -> value, the last axis fastest."""
    fields = [over.field for over in overs]
    points = itertools.product(*(over.values for over in overs))
    return [dict(zip(fields, point, strict=True)) for point in points]


def trial_at(
    base: RunConfig,
    point: Mapping[str, object],
    *,
    seed: int | None = None,
    is_equal_tokens: bool = True,
) -> Trial:
    """Return the trial at a point (field -> value), named after its values.

    Without a `seed`, it has that of `base`, and its name omits it. See `sweep` for the rest.

    Raises:
        ValueError: an unknown field, an invalid value.
    """
    origin = f"--over: invalid trial {_name(point)}"
    changed = with_values(base, point, origin=origin)
    changes = dict(point)
    if is_equal_tokens and changed.tokens_per_step != base.tokens_per_step:
        changes |= _equal_tokens(base, changed, list(point))
    named = dict(point) if seed is None else {**point, "seed": seed}
    changes |= named
    with_values(base, changes, origin=origin)
    return Trial(name=_name(named), changes=changes)


def _name(changes: Mapping[str, object]) -> str:
    return safe_name(",".join(f"{name.rpartition('.')[2]}={v}" for name, v in changes.items()))


def _equal_tokens(base: RunConfig, changed: RunConfig, fields: list[str]) -> dict[str, object]:
    """Return the numbers of steps that see as many tokens as those of `base`."""
    factor = base.tokens_per_step / changed.tokens_per_step
    warmup, total = round(base.schedule.warmup_steps * factor), base.schedule.total_steps
    wanted: dict[str, object] = {
        "training.max-steps": max(1, round(base.training.max_steps * factor)),
        "schedule.warmup-steps": warmup,
        "evaluation.every-steps": max(1, round(base.evaluation.every_steps * factor)),
        "checkpoint.every-steps": max(1, round(base.checkpoint.every_steps * factor)),
    }
    if total is not None:
        wanted["schedule.total-steps"] = max(warmup + 1, round(total * factor))
    return {field: value for field, value in wanted.items() if field not in fields}


def _range(said: str, listed: str) -> tuple[object, ...]:
    match = _RANGE.fullmatch(listed)
    if match is None or match["kind"] not in ("log", "linear"):
        raise ValueError(
            f"{said} is not a range; write {FORMS}; a range without a COUNT is for --engine optuna"
        )
    low, high, is_log = read_ends(said, match, forms=FORMS)
    count = int(match["count"])
    if count < 2:
        raise ValueError(f"{said} needs COUNT >= 2; write {FORMS}")
    shares = [index / (count - 1) for index in range(count)]
    if is_log:
        points = [math.exp(math.log(low) + share * math.log(high / low)) for share in shares]
    else:
        points = [low + share * (high - low) for share in shares]
    if isinstance(low, int) and isinstance(high, int):
        return tuple(dict.fromkeys(round(point) for point in points))
    return tuple(float(f"{point:.3g}") for point in points)


def read_ends(said: str, match: re.Match[str], *, forms: str) -> tuple[float, float, bool]:
    """Return LOW and HIGH of a range, as integers if written so, and whether it is logarithmic.

    Raises:
        ValueError: they are not numbers in order; it begins with `said` and recommends `forms`.
    """
    low, high, is_log = read_value(match["low"]), read_value(match["high"]), match["kind"] == "log"
    if is_number(low) and is_number(high) and low < high and (low > 0 or not is_log):
        return low, high, is_log
    raise ValueError(f"{said} needs {'0 < ' if is_log else ''}LOW < HIGH; write {forms}")


def _cut_at_dots(said: str, words: list[str]) -> tuple[list[str], int | float | None]:
    """Return the words before `...`, and the one number that may follow it."""
    at = words.index("...")
    before, after = words[:at], words[at + 1 :]
    last = read_value(after[0]) if len(after) == 1 else None
    if not after:
        return before, None
    if not is_number(last):
        raise ValueError(f"{said} allows only one number after its ..., the last value")
    return before, last


def _require_rising(said: str, values: tuple[object, ...], last: int | float | None) -> None:
    numbers = [value for value in values if is_number(value)]
    is_rising = len(values) >= 2 and len(numbers) == len(values) and 0 < numbers[-2] < numbers[-1]
    if not is_rising or (last is not None and last <= numbers[-1]):
        raise ValueError(
            f"{said} continues by the ratio of its last two values, so they must be positive, "
            "increasing, and below the value after the ..."
        )


def read_value(word: str) -> object:
    """Parse a word as a TOML value; a word that is not valid TOML is a string."""
    word = word.strip()
    try:
        return tomllib.loads(f"value = {word}")["value"]
    except tomllib.TOMLDecodeError:
        return word
