"""Set the windows of each step: fewer at first, when gradients agree and noise costs little.

Stage: configuration -> *batch size of a step* -> batches, learning rate, tokens. A ramp is written
`TOKENS:WINDOWS,...`: up to that many training tokens, batches have that many windows. It is laid
out in whole batches of `training.batch_size`, which early stages divide into several steps: the run
sees the same tokens in more steps, and no step straddles two stages.

Source: Smith et al. 2018, arXiv:1711.00489 (grow the batch); McCandlish et al. 2018,
arXiv:1812.06162 (why: the noise scale of the gradient grows along the run).
"""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive steps of one batch size."""

    batch_size: int
    """Windows per step."""
    first_step: int
    """Steps before it."""
    first_window: int
    """Windows before it."""


def parse_ramp(text: str | None, *, batch_size: int) -> list[tuple[int, int]]:
    """Return (tokens at its end, windows per step) of every stage before the whole batch.

    Raises:
        ValueError: unreadable, not growing, or sizes that do not divide the whole batch.

    >>> parse_ramp("200_000:8,600_000:16", batch_size=32)
    [(200000, 8), (600000, 16)]
    """
    if text is None:
        return []
    try:
        stages = [tuple(map(int, stage.split(":", maxsplit=1))) for stage in text.split(",")]
        pairs = [(tokens, windows) for tokens, windows in stages]
    except ValueError as error:
        raise ValueError(
            f"training.batch-ramp is {text!r}, but must be TOKENS:WINDOWS pairs separated by "
            "commas, such as 200_000:8,600_000:16"
        ) from error
    _require_growing(text, [(0, 0), *pairs])
    if any(batch_size % windows or windows >= batch_size for _, windows in pairs):
        raise ValueError(
            f"training.batch-ramp is {text!r}, but its windows must divide training.batch-size "
            f"{batch_size} and be fewer"
        )
    return pairs


def lay_out_ramp(text: str | None, *, batch_size: int, context_length: int) -> list[Stage]:
    """Return the stages of a run, none of them empty, the last with whole batches.

    Args:
        text: the ramp; None: whole batches from the start.
        batch_size: windows per whole batch.
        context_length: tokens per window.

    Raises:
        ValueError: see `parse_ramp`.

    >>> lay_out_ramp("100:1", batch_size=4, context_length=8)
    [Stage(batch_size=1, first_step=0, first_window=0), Stage(batch_size=4, first_step=12, \
first_window=12)]
    """
    stages, step, window = [], 0, 0
    for tokens, size in parse_ramp(text, batch_size=batch_size):
        end = round(tokens / (batch_size * context_length)) * batch_size
        if end > window:
            stages.append(Stage(size, step, window))
            step, window = step + (end - window) // size, end
    return [*stages, Stage(batch_size, step, window)]


def stage_of_step(stages: list[Stage], step: int) -> Stage:
    """Return the stage of a step, counted from 1."""
    return next(stage for stage in reversed(stages) if stage.first_step < step)


def windows_after(stages: list[Stage], step: int) -> int:
    """Return the number of windows in the first `step` steps."""
    if step == 0:
        return 0
    stage = stage_of_step(stages, step)
    return stage.first_window + (step - stage.first_step) * stage.batch_size


def steps_until(stages: list[Stage], num_windows: int) -> int:
    """Return the number of steps for `num_windows`, a multiple of the whole batch."""
    stage = next(one for one in reversed(stages) if one.first_window < num_windows)
    return stage.first_step + (num_windows - stage.first_window) // stage.batch_size


def _require_growing(text: str, pairs: list[tuple[int, int]]) -> None:
    for (tokens, windows), (more_tokens, more_windows) in pairwise(pairs):
        if more_tokens <= tokens or more_windows <= windows:
            raise ValueError(
                f"training.batch-ramp is {text!r}, but tokens and windows must be positive and "
                "grow from stage to stage; reorder it"
            )
