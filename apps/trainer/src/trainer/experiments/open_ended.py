"""Extend a list of values that ends in `...` as far as the memory allows.

Stage: `1,8,64,...` -> *every value that accounting expects to fit* -> grid. Not here: the expected
memory (`memory_check.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from trainer.config.field_checks import is_number
from trainer.config.presets import with_values
from trainer.config.run_config import RunConfig
from trainer.experiments.grid import Over

_MAX_ADDED = 40  # doublings would exceed any memory, so the field does not affect it


def close_list(
    over: Over,
    base: RunConfig,
    *,
    why_too_large: Callable[[RunConfig], str | None],
    is_equal_tokens: bool = True,
) -> tuple[Over, str]:
    """Return the axis with all its values, and the reason why it ends.

    The other fields are those of `base`. With `is_equal_tokens`, the list also ends before a step
    would see more tokens than all of `base`.

    Raises:
        ValueError: an unknown field, an invalid value, or an axis without an end.
    """
    values = list(over.values)
    for value in _next_values(over):
        if over.last is not None and value > over.last:
            return _closed(over, values, f"{over.last} is the limit given")
        changed = with_values(base, {over.field: value}, origin="--over")
        if is_equal_tokens and changed.tokens_per_step > base.total_tokens:
            return _closed(
                over, values, f"a step with {value} would exceed the tokens of the whole run"
            )
        reason = why_too_large(changed)
        if reason is not None:
            return _closed(over, values, f"at {value}, {reason}")
        values.append(value)
    raise ValueError(
        f"--over {over.field}={','.join(map(str, over.values))},... has no end: {_MAX_ADDED} more "
        "values all fit in memory; name the last one, as in 1,2,...,64"
    )


def _next_values(over: Over) -> Iterator[int | float]:
    before, last = (value for value in over.values[-2:] if is_number(value))
    is_whole = isinstance(before, int) and isinstance(last, int)
    seen = last
    for power in range(1, _MAX_ADDED + 1):
        value = last * (last / before) ** power
        value = round(value) if is_whole else float(f"{value:.3g}")
        if value != seen:
            yield value
        seen = value


def _closed(over: Over, values: list[object], why: str) -> tuple[Over, str]:
    note = f"{over.field} ends at {values[-1]}: {why}"
    return replace(over, values=tuple(values), goes_on=False, last=None), note
