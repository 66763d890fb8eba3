"""Say in sentences what a study shows.

Stage: study -> *findings* -> the top of its page. Differences are told beside the spread of seeds,
where there is one, so that noise is not taken for an effect.
"""

import math
from collections.abc import Iterator

from trainer.experiments import Point, Study, best_first, points, retuned_families, winners

BASELINE = "baseline"


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
        names = [one.name for one in listed if any(o.status == status for o in one.outcomes)]
        if names:
            sentences.append(what.format(", ".join(names)))
    waiting = sum(len(one.trials) - len(one.outcomes) for one in listed)
    if waiting:
        sentences.append(f"{waiting} of {len(study.trials)} trials have not run to an end yet.")
    return sentences


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


def _best(study: Study, listed: list[Point]) -> Iterator[str]:
    ranked = [point for point in best_first(listed) if point.mean is not None]
    if not ranked:
        return
    best, *others = ranked
    spread = "" if best.spread is None else f" (standard deviation {best.spread:.4f})"
    yield f"Best is {best.name}, at {best.mean:.4f} nats a token{spread}."
    if others:
        gap, error = others[0].mean - best.mean, standard_error_of_difference(best, others[0])
        doubt = ""
        if error is not None:
            is_clear = gap > 2 * error
            doubt = ", more than" if is_clear else ", less than"
            doubt += f" twice the standard error of {error:.4f}"
        yield f"Next is {others[0].name}, {gap:.4f} above{doubt}."
        yield f"The worst that ended is {ranked[-1].name}, {ranked[-1].mean - best.mean:.4f} above."
    for field in swept_fields(study):
        if field == study.retuned:
            continue  # told for each point
        yield from _edge(field, best, listed)


def _edge(field: str, best: Point, listed: list[Point]) -> Iterator[str]:
    """Tell whether the best value lies within the range that was tried."""
    tried = [point for point in listed if point.outcomes]
    values = sorted({v for point in tried if _is_number(v := point.changes.get(field))})
    value = best.changes.get(field)
    if len(values) < 3 or value not in values:
        return
    if value in (values[0], values[-1]):
        end = "lowest" if value == values[0] else "highest"
        yield f"{field} {value:g} is the {end} that was tried: a wider range may hold a better one."
    else:
        yield (
            f"The best {field}, {value:g}, lies within the range from {values[0]:g} to "
            f"{values[-1]:g}."
        )


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
        if abs(gap) < 5e-5:
            yield f"{point.name} ends level with the baseline."
            continue
        word = "worse" if gap > 0 else "better"
        if error is None:
            doubt = "one seed, so its weight is not known"
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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
