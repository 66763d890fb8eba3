"""Say in sentences what a study shows.

Stage: study -> *findings* -> the top of its page. Differences are told beside the spread of seeds,
where there is one, so that noise is not taken for an effect.
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
_NEAR = 64  # integers beyond an edge: heads must divide the width
_LEVEL = 5e-5  # nats, what four digits show as none


def describe_study(study: Study) -> list[str]:
    """Return what a study shows, most important first."""
    listed = points(study)
    sentences = list(_variants(listed) if study.kind == "ablate" else _best(study, listed))
    sentences += winners(study)
    for status, what in (
        ("diverged", "Diverged: {}."),
        ("hopeless", "Given up, since others were better by then: {}."),
        ("too-large", "Too large for the memory: {}."),
    ):
        names = [
            _with_loss(one, status)
            for one in listed
            if any(outcome.status == status for outcome in one.outcomes)
        ]
        if names:
            sentences.append(what.format(", ".join(names)))
    waiting = sum(len(one.trials) - len(one.outcomes) for one in listed)
    return [*sentences, *tell_waiting(waiting, len(study.trials))]


def tell_waiting(number: int, total: int) -> list[str]:
    """Say how many trials have no outcome yet; none: nothing."""
    has = agree(number, "has", "have")
    told = f"{number:,} of {plural(total, 'trial')} {has} not run to an end yet."
    return [told] if number else []


def swept_fields(study: Study) -> list[str]:
    """Return the fields that a sweep goes through, those that follow from others left out."""
    follow = ("training.max-steps", "schedule.warmup-steps")
    follow += ("evaluation.every-steps", "checkpoint.every-steps")
    fields = dict.fromkeys(field for point in points(study) for field in point.changes)
    chosen = [field for field in fields if field not in follow]
    return chosen or list(fields)


def standard_error_of_difference(one: Point, other: Point) -> float | None:
    """Return how far the difference of two means is likely off; None: one has no spread.

    Source: Welch 1947, Biometrika 34; the standard error of a difference of independent means.
    """
    if one.spread is None or other.spread is None:
        return None
    return math.hypot(
        one.spread / math.sqrt(len(one.losses)), other.spread / math.sqrt(len(other.losses))
    )


def _with_loss(point: Point, status: str) -> str:
    """Return a point's name, and what its trials that ended so came to, where they have a loss."""
    losses = point.losses_of(status)
    return f"{point.name} ({statistics.fmean(losses):.4f})" if losses else point.name


def _best(study: Study, listed: list[Point]) -> Iterator[str]:
    if not (ended := ranked(listed)):
        return
    (lowest, best), *others = ended
    spread = "" if best.spread is None else f" (standard deviation {best.spread:.4f})"
    yield f"Best is {best.name}, at {lowest:.4f} nats a token{spread}."
    if others:
        mean, second = others[0]
        yield _next(best, second, gap=mean - lowest)
    if len(others) > 1:
        highest, worst = ended[-1]
        yield f"The worst that ended is {worst.name}, {highest - lowest:.4f} above."
    for field in swept_fields(study):
        if field == study.retuned:
            continue  # told for each point
        yield from _edge(study, field, best, listed)


def _next(best: Point, other: Point, *, gap: float) -> str:
    error = standard_error_of_difference(best, other)
    if gap < _LEVEL:
        return f"{other.name} is level with it."
    if not error:
        return f"Next is {other.name}, {gap:.4f} above."
    doubt = "more" if gap > 2 * error else "no more"
    return (
        f"Next is {other.name}, {gap:.4f} above, {doubt} than twice the standard error of "
        f"{error:.4f}."
    )


def _edge(study: Study, field: str, best: Point, listed: list[Point]) -> Iterator[str]:
    """Tell whether the best value lies within the range that was tried, or could lie beyond it."""
    values = _numbers(field, [point for point in listed if _has_run(point)])
    value = best.changes.get(field)
    if len(values) < 3 or not is_number(value) or value not in values:
        return
    if value not in (values[0], values[-1]):
        first, last = _number(values[0]), _number(values[-1])
        yield f"The best {field}, {_number(value)}, lies within the range from {first} to {last}."
        return
    inner = values[1] if value == values[0] else values[-2]
    is_last_that_fits = any(
        (other - value) * (value - inner) > 0 for other in _numbers(field, listed, of="too-large")
    )
    end = "lowest" if value == values[0] else "highest"
    said = f"{field} {_number(value)} is the {end} that was tried"
    if is_last_that_fits:
        yield f"{said} and fits the memory."
    elif _can_widen(study, best, field, inner):
        yield f"{said}: a wider range may hold a better one."
    else:
        yield f"{said}, and nothing beyond it can be run."


def _can_widen(study: Study, best: Point, field: str, inner: float) -> bool:
    """Whether a run can have a value beyond the best: by ratio, by difference, or just beyond."""
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


def _numbers(field: str, listed: list[Point], *, of: str | None = None) -> list[int | float]:
    """Return the numbers that points have in a field, ascending; with `of`, of such an outcome."""
    values = {
        value
        for point in listed
        if is_number(value := point.changes.get(field))
        and (of is None or any(outcome.status == of for outcome in point.outcomes))
    }
    return sorted(values)


def _has_run(point: Point) -> bool:
    return any(outcome.status != "too-large" for outcome in point.outcomes)


def _number(value: int | float) -> str:
    """Write a number as the command line takes it, without digits that say nothing."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def _variants(listed: list[Point]) -> Iterator[str]:
    baseline = next((point for point in listed if point.name == BASELINE), None)
    if baseline is None or baseline.mean is None:
        return
    spread = "" if baseline.spread is None else f", standard deviation {baseline.spread:.4f}"
    yield f"The baseline ends at {baseline.mean:.4f} nats a token{spread}."
    for point in listed:
        if point is baseline or point.mean is None:
            continue
        gap, error = point.mean - baseline.mean, standard_error_of_difference(point, baseline)
        if abs(gap) < _LEVEL:
            yield f"{point.name} ends level with the baseline."
            continue
        word = "worse" if gap > 0 else "better"
        if error is None:
            doubt = "one seed, so its weight is not known"
        elif error == 0:
            doubt = "no spread between the seeds of either"
        elif abs(gap) > 2 * error:
            doubt = f"{abs(gap) / error:.1f} standard errors"
        else:
            doubt = f"{abs(gap) / error:.1f} standard errors: no clear difference"
        yield f"{point.name} is {word} by {abs(gap):.4f} ({doubt})."
    yield from _retuned(listed, baseline.mean)


def _retuned(listed: list[Point], baseline: float) -> Iterator[str]:
    """Tell which learning rate suits a variant best, where several were tried."""
    by_name = {point.name: point for point in listed if point.outcomes}
    for family in retuned_families():
        tried = [one for one in family if one.name in by_name]
        ended = [(by_name[one.name].mean, one) for one in tried]
        ranked = sorted(
            ((mean, one) for mean, one in ended if mean is not None), key=lambda pair: pair[0]
        )
        if len(tried) < 2 or not ranked:
            continue
        mean, best = ranked[0]
        factors = ", ".join(f"{one.learning_rate_factor:g}" for one in tried)
        edge = "; a lower one may do better still" if best is tried[-1] else ""
        yield (
            f"Of {family[0].name} at {factors} times the baseline's learning rate, "
            f"{best.learning_rate_factor:g} times is best: re-tuned, it ends at {mean:.4f}, "
            f"{mean - baseline:+.4f} against the baseline{edge}."
        )
