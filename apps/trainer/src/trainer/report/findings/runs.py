"""Describe in sentences what the metrics of runs show.

Stage: RunHistory -> *findings* -> the top of the page. Every sentence is backed by numbers; nothing
is stated about quantities that were not measured. Not here: studies (`studies.py`).
"""

import statistics
from collections.abc import Iterator, Sequence

from accounting.plural import agree, plural
from trainer.evaluation.curve import smooth
from trainer.report.history import RunHistory, differing_settings
from trainer.report.units import format_seconds

_STILL_FALLING = 0.01  # drop over the last quarter of a run, as a share of the loss
_ROSE = 0.005  # rise since the best evaluation, as a share of the loss
_CLOSE = 0.02  # gap between training and validation loss, as a share of the loss
_OFTEN_CLIPPED = 0.1
_TIED = 5e-5  # nats or bits; four decimals show no difference
_NATS, _BITS = "nats per token", "bits per byte"


def describe_run(history: RunHistory) -> list[str]:
    """Describe one run, most important findings first."""
    return [
        *_result(history),
        *_baselines(history),
        *_trend(history),
        *_gap(history),
        *_clipping(history),
        *_speed(history),
    ]


def describe_runs(histories: Sequence[RunHistory]) -> list[str]:
    """Compare several runs, most important findings first."""
    ranked, unit = rank(histories)
    changed = list(differing_settings(list(histories)))
    sentences = [
        f"The runs differ in {', '.join(changed)}." if changed else "All settings are the same."
    ]
    if len(healthy := [pair for pair in ranked if pair[1].divergence is None]) > 1:
        sentences += _order(healthy, unit)
        sentences += _head_start(histories) if unit == _NATS else ()
    sentences += _groups(ranked, unit)
    for history in histories:
        if (reason := history.divergence) is not None:
            sentences.append(f"{history.name} diverged: {reason}.")
    if unscored := [history.name for history in histories if history.validation_loss is None]:
        sentences.append(f"Without a validation loss so far: {', '.join(unscored)}.")
    return sentences


def rank(histories: Sequence[RunHistory]) -> tuple[list[tuple[float, RunHistory]], str]:
    """Return the scored runs, best first, and the unit of comparison.

    Diverged runs come last, whatever their loss. Nats per token are comparable only for the same
    text and tokenizer; otherwise the unit is bits per byte.
    """
    changed = differing_settings(list(histories))
    is_same_text = not any(name.startswith(("tokenizer.", "corpus.")) for name in changed)
    unit = _NATS if is_same_text else _BITS
    scored = [(h.validation_loss if is_same_text else h.bits_per_byte, h) for h in histories]
    known = [(loss, history) for loss, history in scored if loss is not None]
    return sorted(known, key=lambda pair: (pair[1].divergence is not None, pair[0])), unit


def _result(history: RunHistory) -> Iterator[str]:
    loss, bits = history.validation_loss, history.bits_per_byte
    if (reason := history.divergence) is not None:
        yield f"The run diverged: {reason}."
    if loss is not None:
        also = "" if bits is None else f" ({bits:.3f} bits per byte)"
        yield f"The validation loss is {loss:.4f} nats per token{also}{_cost(history)}."
    if history.summary is None:
        done, total = history.last_step, history.config.num_steps
        yield (
            f"The run has not finished: {done:,} of {plural(total, 'step')} "
            f"{agree(done, 'is', 'are')} done."
        )
    elif history.summary.aim is not None:
        yield f"The aim was {history.summary.aim}."


def _cost(history: RunHistory) -> str:
    """Return the steps, tokens and time taken, as far as they are known."""
    last = history.last_row
    if last is None:
        return ""
    parts = [plural(last["step"], "step")]
    parts += [plural(last["tokens"], "training token")] if last.get("tokens") else []
    parts += [f"{format_seconds(last['seconds'])} of training"] if last.get("seconds") else []
    return f" after {' and '.join([', '.join(parts[:-1]), parts[-1]] if parts[1:] else parts)}"


def _baselines(history: RunHistory) -> Iterator[str]:
    if history.summary is None or len(history.summary.comparisons) < 2:
        return
    model, *others = history.summary.comparisons
    better = [row for row in others if model.bits_per_byte < row.bits_per_byte]
    worse = [row for row in others if model.bits_per_byte > row.bits_per_byte]
    for verb, rows in (("beats", better), ("does not yet beat", worse)):
        if rows:
            names = ", ".join(f"{row.name} ({row.bits_per_byte:.3f})" for row in rows)
            yield f"In bits per byte, the model {verb} {names}."


def _trend(history: RunHistory) -> Iterator[str]:
    rows = history.evaluations
    if len(rows) < 4:
        return
    last, best = rows[-1], min(rows, key=lambda row: row["loss"])
    if last["loss"] - best["loss"] > _ROSE * best["loss"]:
        yield (
            f"The validation loss was lowest at step {best['step']:,} ({best['loss']:.4f}) and has "
            f"since risen to {last['loss']:.4f}."
        )
        return
    before = min(rows, key=lambda row: abs(row["step"] - 0.75 * last["step"]))
    if before is last:
        return
    fell = before["loss"] - last["loss"]
    where = f"over the last {plural(last['step'] - before['step'], 'step')}"
    if fell > _STILL_FALLING * last["loss"]:
        yield f"The validation loss was still falling: by {fell:.4f} nats {where}."
        return
    change = f"{'fell' if fell > 0 else 'rose'} by {abs(fell):.4f} nats"
    change = "did not change" if abs(fell) < _TIED else change
    yield f"The validation loss had levelled off: it {change} {where}."


def _gap(history: RunHistory) -> Iterator[str]:
    if len(history.train) < 10 or not history.evaluations:
        return
    rows = history.train[-max(len(history.train) // 20, 1) :]
    if history.evaluations[-1]["step"] < rows[0]["step"]:
        return  # training has continued since
    end = statistics.fmean(row["loss"] for row in rows)
    gap = history.evaluations[-1]["loss"] - end
    if abs(gap) < _CLOSE * end:
        yield (
            f"The training and validation losses end within {_CLOSE:.0%} of each other: no sign of "
            "overfitting."
        )
    elif gap > 0:
        yield f"The validation loss ends {gap:.4f} nats above the training loss ({end:.4f})."


def _clipping(history: RunHistory) -> Iterator[str]:
    limit = history.config.optimizer.max_grad_norm
    norms = [norm for row in history.train if (norm := row.get("grad_norm")) is not None]
    if limit is None or not norms:
        return
    share = sum(norm > limit for norm in norms) / len(norms)
    if share > _OFTEN_CLIPPED:
        yield f"Gradients were clipped to a norm of {limit:g} in {_share(share)} of logged steps."


def _speed(history: RunHistory) -> Iterator[str]:
    speeds = [speed for row in history.train if (speed := row.get("tokens_per_second"))]
    if not speeds:
        return
    typical = statistics.median(speeds)
    known = [mfu for row in history.train if (mfu := row.get("mfu")) is not None]
    mfu = f", {_share(statistics.median(known))} of the device's peak" if known else ""
    shown = f"{typical:,.0f}" if typical >= 10 else f"{typical:.2g}"
    yield f"Median speed: {plural(shown, 'token')} per second{mfu}."


def _order(ranked: list[tuple[float, RunHistory]], unit: str) -> Iterator[str]:
    (best, first), (value, second) = ranked[:2]
    if value - best < _TIED:
        yield f"{first.name} and {second.name} are tied at {best:.4f} {unit}."
    else:
        gap = f"{value - best:.4f} higher"
        yield f"{first.name} is best, at {best:.4f} {unit}; {second.name} is next, {gap}."
    worst, last = ranked[-1]
    if len(ranked) > 2 and worst - best >= _TIED:
        yield f"{last.name} is last, {worst - best:.4f} above the best."


def _head_start(histories: Sequence[RunHistory]) -> Iterator[str]:
    """Compare the cost of the same loss, if one of two runs passed the final loss of the other."""
    if len(histories) != 2 or not all(history.evaluations for history in histories):
        return
    better, worse = sorted(histories, key=lambda history: history.evaluations[-1]["loss"])
    goal = worse.evaluations[-1]
    reached = next((r for r in better.evaluations if r["loss"] <= goal["loss"]), None)
    if reached is None or not goal.get("tokens") or not reached.get("tokens"):
        return
    also = ""
    if goal.get("seconds") and reached.get("seconds"):
        also = f" and {_times(reached['seconds'] / goal['seconds'])} the time"
    yield (
        f"{better.name} reached {worse.name}'s final validation loss ({goal['loss']:.4f}) with "
        f"{_times(reached['tokens'] / goal['tokens'])} the tokens{also}."
    )


def _groups(ranked: list[tuple[float, RunHistory]], unit: str) -> Iterator[str]:
    """Report the spread of runs that differ only in their seed."""
    groups: dict[tuple[tuple[str, str], ...], list[tuple[float, RunHistory]]] = {}
    for value, history in ranked:
        key = tuple(item for item in history.settings.items() if item[0] != "seed")
        groups.setdefault(key, []).append((value, history))
    for group in groups.values():
        if len(group) < 2:
            continue
        values, names = [value for value, _ in group], [history.name for _, history in group]
        is_each_own = len({history.config.seed for _, history in group}) == len(group)
        yield (
            f"{', '.join(names)} differ {'only' if is_each_own else 'at most'} in their seed: mean "
            f"{statistics.fmean(values):.4f} {unit}, standard deviation "
            f"{statistics.stdev(values):.4f}."
        )


def _share(share: float) -> str:
    """Format a share without rounding a small one to zero.

    >>> _share(0.123), _share(0.00123)
    ('12%', '0.12%')
    """
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{100 * share:.2g}%"


def _times(factor: float) -> str:
    """Format a factor likewise.

    >>> _times(1.0), _times(0.00123)
    ('1.00 times', '0.0012 times')
    """
    return f"{factor:.2f} times" if factor >= 0.1 else f"{factor:.2g} times"


def final_training_loss(history: RunHistory) -> float | None:
    """Return the smoothed training loss at the end, nats per token."""
    points = smooth([(float(row["step"]), row["loss"]) for row in history.train])
    return points[-1][1] if points else None
