"""Describe in sentences what the outcomes of a study show.

Stage: study -> *findings* -> the top of its page. Differences are reported with the spread across
seeds, so that noise is not mistaken for an effect. Not here: range tests (`ranges.py`).
"""

import functools
import math
import statistics
from collections.abc import Iterator
from typing import Any, cast

from accounting.plural import agree, plural
from trainer.config.field_checks import is_number
from trainer.config.presets import with_values
from trainer.config.run_config import RunConfig
from trainer.experiments import Point, Study, points, ranked, retuned_families, winners

BASELINE = "baseline"
_NEAR = 64  # integers to try beyond an edge: heads must divide the width
_TIED = 5e-5  # nats; four decimals show no difference


def describe_study(study: Study) -> list[str]:
    """Describe a study, most important findings first."""
    listed = points(study)
    sentences = list(_variants(listed) if study.kind == "ablate" else _best(study, listed))
    sentences += winners(study)
    for status, what in (
        ("diverged", "Diverged"),
        ("hopeless", "Given up because other trials were ahead"),
        ("too-large", "Too large for memory"),
    ):
        names = [_with_loss(one, status) for one in listed if _has_ended(one, status)]
        if names:
            sentences.append(f"{what}: {', '.join(names)}.")
    waiting = sum(len(one.trials) - len(one.outcomes) for one in listed)
    return [*sentences, *describe_waiting(waiting, len(study.trials))]


def describe_waiting(number: int, total: int) -> list[str]:
    """Report how many trials have no outcome yet, if any."""
    has = agree(number, "has", "have")
    return [f"{number:,} of {plural(total, 'trial')} {has} not finished yet."] if number else []


def swept_fields(study: Study) -> list[str]:
    """Return the fields that a sweep varies, without those that follow from others."""
    follow = ("training.max-steps", "schedule.warmup-steps")
    follow += ("evaluation.every-steps", "checkpoint.every-steps")
    fields = dict.fromkeys(field for point in points(study) for field in point.changes)
    chosen = [field for field in fields if field not in follow]
    return chosen or list(fields)


def standard_error_of_difference(one: Point, other: Point) -> float | None:
    """Return the standard error of the difference of two means; None: one has no spread.

    Source: Welch 1947, Biometrika 34.
    """
    if one.spread is None or other.spread is None:
        return None
    return math.hypot(
        one.spread / math.sqrt(len(one.losses)), other.spread / math.sqrt(len(other.losses))
    )


def _with_loss(point: Point, status: str) -> str:
    """Return a point's name, and the mean loss of its trials that ended so, if they have one."""
    losses = point.losses_of(status)
    return f"{point.name} ({statistics.fmean(losses):.4f})" if losses else point.name


def _best(study: Study, listed: list[Point]) -> Iterator[str]:
    if not (ended := ranked(listed)):
        return
    (lowest, best), *others = ended
    spread = "" if best.spread is None else f" (standard deviation {best.spread:.4f})"
    yield f"{best.name} is best, at {lowest:.4f} nats per token{spread}."
    if others:
        mean, second = others[0]
        yield _next(best, second, gap=mean - lowest)
    if len(others) > 1:
        highest, worst = ended[-1]
        yield f"{worst.name} is the worst that finished, {highest - lowest:.4f} above the best."
    for field in swept_fields(study):
        if field != study.retuned:  # that one has a winner for each point
            yield from _edge(study, field, best, listed)


def _next(best: Point, other: Point, *, gap: float) -> str:
    error = standard_error_of_difference(best, other)
    if gap < _TIED:
        return f"{other.name} is tied with it."
    doubt = "more" if error and gap > 2 * error else "no more"
    by = f": {doubt} than twice the standard error of {error:.4f}" if error else ""
    return f"{other.name} is next, {gap:.4f} higher{by}."


def _edge(study: Study, field: str, best: Point, listed: list[Point]) -> Iterator[str]:
    """Report whether the best value lies inside the range tried or at its edge."""
    values = _numbers(field, [point for point in listed if _has_run(point)])
    value = best.changes.get(field)
    if len(values) < 3 or not is_number(value) or value not in values:
        return
    said = f"The best {field}, {_number(value)},"
    if value not in (values[0], values[-1]):
        yield f"{said} lies inside the range tried, {_number(values[0])} to {_number(values[-1])}."
        return
    inner = values[1] if value == values[0] else values[-2]
    too_large = _numbers(field, [one for one in listed if _has_ended(one, "too-large")])
    said += f" is the {'lowest' if value == values[0] else 'highest'} tried"
    if any((other - value) * (value - inner) > 0 for other in too_large):
        yield f"{said} that fits in memory."
    elif _can_widen(study, best, field, inner):
        yield f"{said}: a wider range may contain a better one."
    else:
        yield f"{said}, and no value beyond it is valid."


def _can_widen(study: Study, best: Point, field: str, inner: float) -> bool:
    """Whether a value beyond the best is valid: by ratio, by difference, or just beyond it."""
    config = study.config(best.trials[0])
    value: Any = functools.reduce(getattr, field.replace("-", "_").split("."), cast(Any, config))
    gap = value - inner
    beyond: list[int | float] = [2 * value, value / 2, value + gap, value + gap / 1000]
    if isinstance(value, int):
        way = 1 if gap > 0 else -1
        beyond = [*map(round, beyond), *(value + way * step for step in range(1, _NEAR))]
    return any(
        _can_run(config, field, one) for one in dict.fromkeys(beyond) if (one - value) * gap > 0
    )


def _can_run(config: RunConfig, field: str, value: float) -> bool:
    try:
        with_values(config, {field: value}, origin="study")
    except ValueError:
        return False
    return True


def _numbers(field: str, listed: list[Point]) -> list[int | float]:
    """Return the distinct numbers that points have in a field, ascending."""
    return sorted({value for one in listed if is_number(value := one.changes.get(field))})


def _has_ended(point: Point, status: str) -> bool:
    return any(outcome.status == status for outcome in point.outcomes)


def _has_run(point: Point) -> bool:
    return any(outcome.status != "too-large" for outcome in point.outcomes)


def _number(value: int | float) -> str:
    """Format a number for the command line, without insignificant digits."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def _variants(listed: list[Point]) -> Iterator[str]:
    baseline = next((point for point in listed if point.name == BASELINE), None)
    if baseline is None or baseline.mean is None:
        return
    spread = "" if baseline.spread is None else f" (standard deviation {baseline.spread:.4f})"
    yield f"The baseline ends at {baseline.mean:.4f} nats per token{spread}."
    for point in listed:
        if point is baseline or point.mean is None:
            continue
        gap, error = point.mean - baseline.mean, standard_error_of_difference(point, baseline)
        if abs(gap) < _TIED:
            yield f"{point.name} matches the baseline."
            continue
        word = "worse" if gap > 0 else "better"
        if error is None:
            doubt = "too few seeds for a standard error"
        elif error == 0:
            doubt = "no spread across seeds"
        elif abs(gap) > 2 * error:
            doubt = f"{abs(gap) / error:.1f} standard errors"
        else:
            doubt = f"{abs(gap) / error:.1f} standard errors: no clear difference"
        yield f"{point.name} is {word} by {abs(gap):.4f} ({doubt})."
    yield from _retuned(listed, baseline.mean)


def _retuned(listed: list[Point], baseline: float) -> Iterator[str]:
    """Report the best learning rate of a variant, if several were tried."""
    by_name = {point.name: point for point in listed if point.outcomes}
    for family in retuned_families():
        tried = [one for one in family if one.name in by_name]
        ended = [(m, one) for one in tried if (m := by_name[one.name].mean) is not None]
        if len(tried) < 2 or not ended:
            continue
        mean, best = min(ended, key=lambda pair: pair[0])
        factors = ", ".join(f"{one.learning_rate_factor:g}" for one in tried)
        edge = "; a lower rate may do better still" if best is tried[-1] else ""
        yield (
            f"Of the learning rates tried for {family[0].name} ({factors} times the baseline's), "
            f"{best.learning_rate_factor:g} times is best: retuned, it ends at {mean:.4f}, "
            f"{mean - baseline:+.4f} relative to the baseline{edge}."
        )
