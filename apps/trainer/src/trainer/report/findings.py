"""Say in sentences what runs show, from their numbers alone.

Stage: RunHistory -> *findings* -> the top of the page. A sentence is written only where the numbers
carry it; nothing is said of what was not measured.
"""

import math
import statistics
from collections.abc import Iterator, Sequence

from trainer.curve import smooth
from trainer.report.drawing import time_unit
from trainer.report.history import RunHistory, differing_settings

_STILL_FALLING = 0.01  # share of the loss that the last quarter of a run takes off
_ROSE = 0.005  # share of the loss that counts as a rise after the best evaluation
_OFTEN_CLIPPED = 0.1


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
    if len(ranked) > 1:
        sentences += _order(ranked, unit)
        sentences += _head_start(histories)
    sentences += _groups(histories, unit)
    for history in histories:
        if history.diverged_at is not None:
            sentences.append(
                f"{history.name} diverged: at step {history.diverged_at:,} its loss is no number."
            )
    silent = [history.name for history in histories if history.validation_loss is None]
    if silent:
        sentences.append(f"Not scored on validation text yet: {', '.join(silent)}.")
    return sentences


def rank(histories: Sequence[RunHistory]) -> tuple[list[tuple[float, RunHistory]], str]:
    """Return the runs that were scored, best first, and the unit they are compared in.

    Nats a token compare only where the tokens are the same: else it is bits per byte.
    """
    changed = differing_settings(list(histories))
    is_same_text = not any(name.startswith(("tokenizer.", "corpus.")) for name in changed)
    if is_same_text:
        scored = [(history.validation_loss, history) for history in histories]
        unit = "nats a token"
    else:
        scored = [(_bits_per_byte(history), history) for history in histories]
        unit = "bits per byte"
    return sorted((s for s in scored if s[0] is not None), key=lambda pair: pair[0]), unit


def format_seconds(seconds: float) -> str:
    """Write a duration in the unit that suits it.

    >>> format_seconds(45), format_seconds(1230), format_seconds(9000)
    ('45.0 s', '20.5 min', '2.5 h')
    """
    scale, unit = time_unit(seconds)
    return f"{seconds / scale:.1f} {dict(seconds='s', minutes='min', hours='h')[unit]}"


def _bits_per_byte(history: RunHistory) -> float | None:
    factor, loss = history.bits_per_nat_token, history.validation_loss
    return None if factor is None or loss is None else loss * factor


def _result(history: RunHistory) -> Iterator[str]:
    loss, bits = history.validation_loss, _bits_per_byte(history)
    if history.diverged_at is not None:
        yield f"The run diverged: at step {history.diverged_at:,} its loss is no number."
    if loss is not None:
        rows = history.train or history.evaluations
        tokens, seconds = rows[-1].get("tokens") or 0, rows[-1].get("seconds") or 0.0
        also = "" if bits is None else f", {bits:.3f} bits per byte"
        yield (
            f"Validation loss {loss:.4f} nats a token{also}, after {history.last_step:,} steps, "
            f"{tokens:,} training tokens and {format_seconds(seconds)} of training."
        )
    if history.summary is None:
        total = history.config.training.max_steps
        yield f"The run has not ended: {history.last_step:,} of {total:,} steps are done."
    elif history.summary.aim is not None:
        yield f"The aim was {history.summary.aim}."


def _baselines(history: RunHistory) -> Iterator[str]:
    if history.summary is None or len(history.summary.comparisons) < 2:
        return
    model, *others = history.summary.comparisons
    beaten = [row for row in others if model.bits_per_byte < row.bits_per_byte]
    ahead = [row for row in others if row not in beaten]
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
    fell = before["loss"] - last["loss"]
    if before is not last and fell > _STILL_FALLING * last["loss"]:
        yield (
            f"It was still falling: by {fell:.3f} nats over the last "
            f"{last['step'] - before['step']:,} steps."
        )
    elif before is not last:
        yield f"It had levelled off: {fell:+.4f} nats over the last quarter of the steps."


def _gap(history: RunHistory) -> Iterator[str]:
    if len(history.train) < 10 or not history.evaluations:
        return
    points = [(float(row["step"]), row["loss"]) for row in history.train]
    end = statistics.fmean(loss for _, loss in points[-max(len(points) // 20, 1) :])
    gap = history.evaluations[-1]["loss"] - end
    if abs(gap) < 0.02 * end:
        yield "Training and validation loss end together: nothing points to overfitting."
    elif gap > 0:
        yield f"The validation loss ends {gap:.3f} nats above the training loss ({end:.3f})."


def _clipping(history: RunHistory) -> Iterator[str]:
    limit = history.config.optimizer.max_grad_norm
    norms = [row["grad_norm"] for row in history.train if row.get("grad_norm") is not None]
    if limit is None or not norms:
        return
    share = sum(norm > limit for norm in norms) / len(norms)
    if share > _OFTEN_CLIPPED:
        yield f"The gradient was clipped to {limit:g} in {share:.0%} of the logged steps."


def _speed(history: RunHistory) -> Iterator[str]:
    speeds = [row["tokens_per_second"] for row in history.train if row.get("tokens_per_second")]
    if not speeds:
        return
    typical = statistics.median(speeds)
    known = [row["mfu"] for row in history.train if row.get("mfu") is not None]
    mfu = f", {statistics.median(known):.0%} of the device's peak" if known else ""
    yield f"Typical speed: {typical:,.0f} tokens a second{mfu}."


def _order(ranked: list[tuple[float, RunHistory]], unit: str) -> Iterator[str]:
    (best, first), (value, second) = ranked[:2]
    yield (
        f"{first.name} is best, at {best:.4f} {unit}; next is {second.name}, {value - best:.4f} "
        "above."
    )
    if len(ranked) > 2:
        worst, last = ranked[-1]
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
    tokens, seconds = reached["tokens"] / goal["tokens"], None
    if goal.get("seconds"):
        seconds = (reached.get("seconds") or math.nan) / goal["seconds"]
    also = "" if seconds is None else f" and {seconds:.2f} times the time"
    yield (
        f"{better.name} reached {worse.name}'s last validation loss ({goal['loss']:.4f}) with "
        f"{tokens:.2f} times the tokens{also}."
    )


def _groups(histories: Sequence[RunHistory], unit: str) -> Iterator[str]:
    """Tell the spread of runs that differ in their seed only."""
    groups: dict[tuple[tuple[str, str], ...], list[RunHistory]] = {}
    for history in histories:
        key = tuple(item for item in history.settings.items() if item[0] != "seed")
        groups.setdefault(key, []).append(history)
    for group in groups.values():
        values = [value for value, _ in rank(group)[0]]
        if len(values) > 1:
            names = ", ".join(history.name for history in group)
            yield (
                f"{names} differ in their seed only: mean {statistics.fmean(values):.4f} {unit}, "
                f"standard deviation {statistics.stdev(values):.4f}."
            )


def final_training_loss(history: RunHistory) -> float | None:
    """Return the smoothed training loss at the end, nats a token."""
    points = smooth([(float(row["step"]), row["loss"]) for row in history.train])
    return points[-1][1] if points else None
