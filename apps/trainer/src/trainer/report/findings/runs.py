"""Say in sentences what runs show, from their numbers alone.

Stage: RunHistory -> *findings* -> the top of the page. A sentence is written only where the numbers
carry it; nothing is said of what was not measured.
"""

import statistics
from collections.abc import Iterator, Sequence

from accounting.plural import agree, plural
from trainer.evaluation.curve import smooth
from trainer.report.history import RunHistory, differing_settings
from trainer.report.units import format_seconds

_STILL_FALLING = 0.01  # share of the loss that the last quarter of a run takes off
_ROSE = 0.005  # share of the loss that counts as a rise after the best evaluation
_OFTEN_CLIPPED = 0.1
_LEVEL = 5e-5  # nats or bits, what four digits show as none
_NATS, _BITS = "nats a token", "bits per byte"


def describe_run(history: RunHistory) -> list[str]:
    """Return what one run shows, most important first."""
    return [
        *_result(history),
        *_baselines(history),
        *_trend(history),
        *_gap(history),
        *_clipping(history),
        *_speed(history),
    ]


def describe_runs(histories: Sequence[RunHistory]) -> list[str]:
    """Return what several runs show beside each other, most important first."""
    ranked, unit = rank(histories)
    changed = list(differing_settings(list(histories)))
    sentences = [
        f"The runs differ in {', '.join(changed)}." if changed else "The settings are equal."
    ]
    if len(healthy := [pair for pair in ranked if pair[1].divergence is None]) > 1:
        sentences += _order(healthy, unit)
        sentences += _head_start(histories) if unit == _NATS else ()
    sentences += _groups(ranked, unit)
    for history in histories:
        if (reason := history.divergence) is not None:
            sentences.append(f"{history.name} diverged: {reason}.")
    silent = [history.name for history in histories if history.validation_loss is None]
    if silent:
        sentences.append(f"Not scored on validation text yet: {', '.join(silent)}.")
    return sentences


def rank(histories: Sequence[RunHistory]) -> tuple[list[tuple[float, RunHistory]], str]:
    """Return the runs that were scored, best first, and the unit they are compared in.

    Those that diverged come last, whatever their loss.
    Nats a token compare only where the tokens are the same: else it is bits per byte.
    """
    changed = differing_settings(list(histories))
    is_same_text = not any(name.startswith(("tokenizer.", "corpus.")) for name in changed)
    if is_same_text:
        scored = [(history.validation_loss, history) for history in histories]
    else:
        scored = [(_bits_per_byte(history), history) for history in histories]
    unit = _NATS if is_same_text else _BITS
    known = [(loss, history) for loss, history in scored if loss is not None]
    return sorted(known, key=lambda pair: (pair[1].divergence is not None, pair[0])), unit


def _bits_per_byte(history: RunHistory) -> float | None:
    factor, loss = history.bits_per_nat_token, history.validation_loss
    return None if factor is None or loss is None else loss * factor


def _result(history: RunHistory) -> Iterator[str]:
    loss, bits = history.validation_loss, _bits_per_byte(history)
    if (reason := history.divergence) is not None:
        yield f"The run diverged: {reason}."
    if loss is not None:
        also = "" if bits is None else f", {bits:.3f} bits per byte"
        yield f"Validation loss {loss:.4f} nats a token{also}{_cost(history)}."
    if history.summary is None:
        done, total = history.last_step, history.config.num_steps
        yield (
            f"The run has not ended: {done:,} of {plural(total, 'step')} "
            f"{agree(done, 'is', 'are')} done."
        )
    elif history.summary.aim is not None:
        yield f"The aim was {history.summary.aim}."


def _cost(history: RunHistory) -> str:
    """Return what it took, as far as the metrics know."""
    last = history.last_row
    if last is None:
        return ""
    parts = [plural(last["step"], "step")]
    parts += [plural(last["tokens"], "training token")] if last.get("tokens") else []
    parts += [f"{format_seconds(last['seconds'])} of training"] if last.get("seconds") else []
    return f", after {' and '.join([', '.join(parts[:-1]), parts[-1]] if parts[1:] else parts)}"


def _baselines(history: RunHistory) -> Iterator[str]:
    if history.summary is None or len(history.summary.comparisons) < 2:
        return
    model, *others = history.summary.comparisons
    beaten = [row for row in others if model.bits_per_byte < row.bits_per_byte]
    ahead = [row for row in others if model.bits_per_byte > row.bits_per_byte]
    if beaten:
        names = ", ".join(f"{row.name} ({row.bits_per_byte:.3f})" for row in beaten)
        yield f"It predicts the text better than {names}, in bits per byte."
    if ahead:
        names = ", ".join(f"{row.name} ({row.bits_per_byte:.3f})" for row in ahead)
        yield f"It does not yet predict the text as well as {names}, in bits per byte."


def _trend(history: RunHistory) -> Iterator[str]:
    rows = history.evaluations
    if len(rows) < 4:
        return
    last, best = rows[-1], min(rows, key=lambda row: row["loss"])
    if last["loss"] - best["loss"] > _ROSE * best["loss"]:
        yield (
            f"The validation loss was lowest at step {best['step']:,} ({best['loss']:.4f}) and has "
            f"risen since to {last['loss']:.4f}."
        )
        return
    before = min(rows, key=lambda row: abs(row["step"] - 0.75 * last["step"]))
    if before is last:
        return
    fell = before["loss"] - last["loss"]
    where = f"over the last {plural(last['step'] - before['step'], 'step')}"
    if fell > _STILL_FALLING * last["loss"]:
        yield f"It was still falling: by {fell:.4f} nats {where}."
    elif abs(fell) < _LEVEL:
        yield f"It had levelled off: it did not change {where}."
    else:
        way = "fell" if fell > 0 else "rose"
        yield f"It had levelled off: it {way} by {abs(fell):.4f} nats {where}."


def _gap(history: RunHistory) -> Iterator[str]:
    if len(history.train) < 10 or not history.evaluations:
        return
    rows = history.train[-max(len(history.train) // 20, 1) :]
    if history.evaluations[-1]["step"] < rows[0]["step"]:
        return  # training has gone on since
    end = statistics.fmean(row["loss"] for row in rows)
    gap = history.evaluations[-1]["loss"] - end
    if abs(gap) < 0.02 * end:
        yield "Training and validation loss end together: nothing points to overfitting."
    elif gap > 0:
        yield f"The validation loss ends {gap:.4f} nats above the training loss ({end:.4f})."


def _clipping(history: RunHistory) -> Iterator[str]:
    limit = history.config.optimizer.max_grad_norm
    norms = [norm for row in history.train if (norm := row.get("grad_norm")) is not None]
    if limit is None or not norms:
        return
    share = sum(norm > limit for norm in norms) / len(norms)
    if share > _OFTEN_CLIPPED:
        yield f"The gradient was clipped to {limit:g} in {_share(share)} of the logged steps."


def _speed(history: RunHistory) -> Iterator[str]:
    speeds = [speed for row in history.train if (speed := row.get("tokens_per_second"))]
    if not speeds:
        return
    typical = statistics.median(speeds)
    known = [mfu for row in history.train if (mfu := row.get("mfu")) is not None]
    mfu = f", {_share(statistics.median(known))} of the device's peak" if known else ""
    shown = f"{typical:,.0f}" if typical >= 10 else f"{typical:.2g}"
    yield f"Typical speed: {plural(shown, 'token')} a second{mfu}."


def _order(ranked: list[tuple[float, RunHistory]], unit: str) -> Iterator[str]:
    (best, first), (value, second) = ranked[:2]
    if value - best < _LEVEL:
        yield f"{first.name} and {second.name} are level, at {best:.4f} {unit}."
    else:
        gap = f"{value - best:.4f} above"
        yield f"{first.name} is best, at {best:.4f} {unit}; next is {second.name}, {gap}."
    worst, last = ranked[-1]
    if len(ranked) > 2 and worst - best >= _LEVEL:
        yield f"{last.name} is last, {worst - best:.4f} above the best."


def _head_start(histories: Sequence[RunHistory]) -> Iterator[str]:
    """Compare what two runs needed for the same loss, where one went through the other's end."""
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
        f"{better.name} reached {worse.name}'s last validation loss ({goal['loss']:.4f}) with "
        f"{_times(reached['tokens'] / goal['tokens'])} the tokens{also}."
    )


def _groups(ranked: list[tuple[float, RunHistory]], unit: str) -> Iterator[str]:
    """Tell the spread of runs that differ in their seed only."""
    groups: dict[tuple[tuple[str, str], ...], list[tuple[float, RunHistory]]] = {}
    for value, history in ranked:
        key = tuple(item for item in history.settings.items() if item[0] != "seed")
        groups.setdefault(key, []).append((value, history))
    for group in groups.values():
        if len(group) < 2:
            continue
        values = [value for value, _ in group]
        is_each_own = len({history.config.seed for _, history in group}) == len(group)
        yield (
            f"{', '.join(history.name for _, history in group)} differ in their seed "
            f"{'only' if is_each_own else 'at most'}: mean {statistics.fmean(values):.4f} {unit}, "
            f"standard deviation {statistics.stdev(values):.4f}."
        )


def _share(share: float) -> str:
    """Write a share without rounding a small one to none.

    >>> _share(0.123), _share(0.00123)
    ('12%', '0.12%')
    """
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{100 * share:.2g}%"


def _times(factor: float) -> str:
    """Likewise for a factor.

    >>> _times(1.0), _times(0.00123)
    ('1.00 times', '0.0012 times')
    """
    return f"{factor:.2f} times" if factor >= 0.1 else f"{factor:.2g} times"


def final_training_loss(history: RunHistory) -> float | None:
    """Return the smoothed training loss at the end, nats a token."""
    points = smooth([(float(row["step"]), row["loss"]) for row in history.train])
    return points[-1][1] if points else None
