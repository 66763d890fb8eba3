"""Every sentence of a report agrees with the numbers that it was made from."""

import dataclasses
import math
import re
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.config.presets import load_preset, with_values
from trainer.config.run_config import RunConfig
from trainer.evaluation.baselines import Baseline
from trainer.experiments import Outcome, Study, ablate, open_study, parse_over, points, sweep
from trainer.experiments.lr_range import RangeFindings, find_range
from trainer.report import RunHistory, describe_run, describe_runs
from trainer.report.findings.ranges import describe_range_of
from trainer.report.findings.studies import describe_study
from trainer.summary import Summary

BASE = load_preset("quickstart")
NUMBER = r"([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)"
LOSSES = st.floats(0.01, 30)
quick = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _near(text: str, value: float) -> bool:
    """Whether a written number is the value, rounded to the digits that it shows."""
    mantissa, _, exponent = text.replace(",", "").partition("e")
    step = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(_number(text) - value) <= 0.500001 * step + 1e-12


class Sentences:
    """Matches each sentence with the claim that it makes; one that no claim knows is an error."""

    def __init__(self) -> None:
        self._claims: list[tuple[re.Pattern[str], Callable[..., object]]] = []

    def claim(self, pattern: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
        def add(check: Callable[..., object]) -> Callable[..., object]:
            self._claims.append((re.compile(pattern.replace("NUM", NUMBER)), check))
            return check

        return add

    def check(self, sentences: Sequence[str], about: object) -> None:
        for sentence in sentences:
            assert not re.search(r"(?<![\d.,])1 (step|token|training token|trial|run)s", sentence)
            found = [(m, check) for p, check in self._claims if (m := p.fullmatch(sentence))]
            assert len(found) == 1, f"{len(found)} claims know {sentence!r}"
            match, check = found[0]
            assert check(about, *match.groups()) is not False, sentence


# One run.

RUN = Sentences()


@RUN.claim(
    r"The validation loss is NUM nats per token(?: \(NUM bits per byte\))? after NUM steps?(.*)\."
)
def _(run: RunHistory, loss: str, bits: str | None, steps: str, rest: str) -> bool:
    last = max((*run.train, *run.evaluations), key=lambda row: row["step"])
    tokens = re.search(f"{NUMBER} training tokens?", rest)
    assert (tokens is not None) == bool(last.get("tokens"))
    assert tokens is None or _number(tokens[1]) == last["tokens"]
    assert bits is None or _near(bits, run.validation_loss * run.bits_per_nat_token)
    return _near(loss, run.validation_loss) and _number(steps) == last["step"]


@RUN.claim(r"The run has not finished: NUM of NUM steps? (is|are) done\.")
def _(run: RunHistory, done: str, total: str, verb: str) -> bool:
    assert verb == ("is" if done == "1" else "are")
    return _number(done) == run.last_step and _number(total) == run.config.num_steps


@RUN.claim(r"The aim was (reached|missed): validation loss NUM, aim NUM\.")
def _(run: RunHistory, how: str, loss: str, aim: str) -> bool:
    assert _near(loss, run.validation_loss)
    assert float(aim) == pytest.approx(run.summary.target_loss, rel=1e-5)
    return (how == "reached") == (run.validation_loss <= run.summary.target_loss)


@RUN.claim(r"In bits per byte, the model (beats|does not yet beat) (.*)\.")
def _(run: RunHistory, how: str, names: str) -> bool:
    model, *others = run.summary.comparisons
    is_better = how == "beats"
    named = [row for row in others if f"{row.name} ({row.bits_per_byte:.3f})" in names]
    assert named
    return all((model.bits_per_byte < row.bits_per_byte) == is_better for row in named)


@RUN.claim(r"The run diverged: its loss is not finite from step NUM on\.")
def _(run: RunHistory, step: str) -> bool:
    return _number(step) == run.diverged_at


@RUN.claim(r"The run diverged: the training loss (fell to|began at) NUM and ended at NUM\.")
def _(run: RunHistory, how: str, low: str, end: str) -> bool:
    losses = [row["loss"] for row in run.train]
    is_within = min(losses) - 0.005 <= _number(low) <= max(losses)
    assert (how == "fell to") == (_number(low) < losses[0] + 0.005) or how == "began at"
    return is_within and _number(end) > _number(low)


@RUN.claim(r"The validation loss was lowest at step NUM \(NUM\) and has since risen to NUM\.")
def _(run: RunHistory, step: str, low: str, end: str) -> bool:
    losses = {row["step"]: row["loss"] for row in run.evaluations}
    assert _near(low, losses[int(_number(step))]) and _near(end, run.evaluations[-1]["loss"])
    return losses[int(_number(step))] == min(losses.values()) and _number(end) >= _number(low)


def _change(run: RunHistory, steps: str) -> float:
    last = run.evaluations[-1]
    [before] = [r for r in run.evaluations if r["step"] == last["step"] - int(_number(steps))]
    return last["loss"] - before["loss"]


@RUN.claim(r"The validation loss was still falling: by NUM nats over the last NUM steps?\.")
def _(run: RunHistory, by: str, steps: str) -> bool:
    return _number(by) > 0 and _near(by, -_change(run, steps))


@RUN.claim(
    r"The validation loss had levelled off: it (fell|rose) by NUM nats over the last NUM steps?\."
)
def _(run: RunHistory, way: str, by: str, steps: str) -> bool:
    return _number(by) > 0 and _near(by, _change(run, steps) * (-1 if way == "fell" else 1))


@RUN.claim(r"The validation loss had levelled off: it did not change over the last NUM steps?\.")
def _(run: RunHistory, steps: str) -> bool:
    return abs(_change(run, steps)) < 1e-4


def _gap(run: RunHistory) -> tuple[float, float]:
    rows = run.train[-max(len(run.train) // 20, 1) :]
    end = statistics.fmean(row["loss"] for row in rows)
    assert run.evaluations[-1]["step"] >= rows[0]["step"]
    return run.evaluations[-1]["loss"] - end, end


@RUN.claim(
    r"The training and validation losses end within 2% of each other: no sign of overfitting\."
)
def _(run: RunHistory) -> bool:
    gap, end = _gap(run)
    return abs(gap) < 0.02 * end


@RUN.claim(r"The validation loss ends NUM nats above the training loss \(NUM\)\.")
def _(run: RunHistory, by: str, end: str) -> bool:
    gap, level = _gap(run)
    return gap > 0 and _near(by, gap) and _near(end, level)


@RUN.claim(r"Gradients were clipped to a norm of NUM in NUM% of logged steps\.")
def _(run: RunHistory, limit: str, share: str) -> bool:
    norms = [row["grad_norm"] for row in run.train]
    assert float(limit) == run.config.optimizer.max_grad_norm
    return _near(share, 100 * sum(norm > float(limit) for norm in norms) / len(norms))


@RUN.claim(r"Median speed: NUM tokens? per second(?:, NUM% of the device's peak)?\.")
def _(run: RunHistory, speed: str, mfu: str | None) -> bool:
    assert mfu is None or _near(mfu, 100 * statistics.median(row["mfu"] for row in run.train))
    return _near(speed, statistics.median(row["tokens_per_second"] for row in run.train))


@st.composite
def _histories(draw: st.DrawFn, *, name: str = "run", is_short: bool = False) -> RunHistory:
    every = draw(st.sampled_from((1, 3, 10)))
    losses = draw(st.lists(LOSSES, min_size=1, max_size=4 if is_short else 40))
    if draw(st.booleans()):
        losses.sort(reverse=True)
    steps = [every * (index + 1) for index in range(len(losses))]
    speed, norm = draw(st.floats(0.01, 1e6)), draw(st.floats(0.01, 3))
    train = [
        _row("train", step, loss, speed, norm) for step, loss in zip(steps, losses, strict=True)
    ]
    own = draw(st.lists(LOSSES, max_size=8) | _levelling(losses[-1]))
    evaluations = [
        _row("evaluation", step, loss, speed, norm)
        for step, loss in zip(steps[-len(own) :] if own else (), own, strict=False)
    ]
    target = draw(st.none() | LOSSES)
    config = dataclasses.replace(BASE, seed=draw(st.integers(0, 2)))
    evaluation = dataclasses.replace(BASE.evaluation, target_loss=target)
    if not is_short:
        config = dataclasses.replace(config, evaluation=evaluation)
    return RunHistory(
        path=Path(name),
        config=config,
        train=train,
        evaluations=evaluations,
        samples=[],
        summary=draw(st.none() | _summaries(target)),
        diverged_at=draw(st.none() | st.just(steps[-1] + 1)),
        problems=[],
    )


def _levelling(level: float) -> st.SearchStrategy[list[float]]:
    """Draw losses that end near a level: as far from it as a gap to the training loss may be."""
    near = st.floats(0, 0.004).map(lambda share: level * (1 + share))
    far = st.floats(0.02, 0.5).map(lambda share: level * (1 + share))
    one = st.tuples(far | near, st.lists(st.floats(0, 0.004), min_size=4, max_size=8))
    return one.map(lambda drawn: [drawn[0] * (1 + share) for share in drawn[1]])


def _row(kind: str, step: int, loss: float, speed: float, norm: float) -> dict[str, object]:
    row = {"kind": kind, "step": step, "loss": loss, "tokens": 7 * step, "seconds": 0.3 * step}
    more = {"tokens_per_second": speed, "grad_norm": norm * (1 + step % 3), "mfu": speed / 1e7}
    return row | (more if kind == "train" else {})


@st.composite
def _summaries(draw: st.DrawFn, target: float | None) -> Summary:
    loss = draw(LOSSES)
    names = ("this model", "xz -9", "unigram")
    bits = draw(st.lists(st.sampled_from((1.0, 1.25, 2.0)), min_size=3, max_size=3))
    return Summary(
        preset="quickstart",
        step=1,
        training_tokens=1,
        training_seconds=1.0,
        tokens_per_second=1.0,
        mfu=None,
        scored_tokens=100,
        scored_bytes=300,
        validation_loss=loss,
        comparisons=[
            Baseline(name=name, bits_per_byte=one, nats_per_token=None)
            for name, one in zip(names, bits, strict=True)
        ],
        target_loss=target,
        curve="",
        sample="",
        notes=[],
    )


@quick
@given(_histories())
def test_what_is_told_of_a_run_is_what_its_numbers_are(run: RunHistory) -> None:
    RUN.check(describe_run(run), run)


def test_the_sign_of_a_loss_that_has_levelled_off_is_its_own() -> None:
    losses = [5.0, 4.0, 3.6497, 3.6339]
    rows = [_row("evaluation", 25 * i, loss, 1.0, 1.0) for i, loss in enumerate(losses, start=1)]
    run = RunHistory(
        path=Path("run"),
        config=BASE,
        train=[],
        evaluations=rows,
        samples=[],
        summary=None,
        diverged_at=None,
        problems=[],
    )
    assert (
        "The validation loss had levelled off: it fell by 0.0158 nats over the last 25 steps."
        in describe_run(run)
    )


# Several runs.

RUNS = Sentences()
Runs = dict[str, RunHistory]


def _value(run: RunHistory, unit: str) -> float | None:
    if unit == "nats per token":
        return run.validation_loss
    factor = run.bits_per_nat_token
    return None if factor is None else run.validation_loss * factor


def _ranked(runs: Runs, unit: str) -> list[float]:
    values = [_value(run, unit) for run in runs.values() if run.divergence is None]
    return sorted(value for value in values if value is not None)


@RUNS.claim(r"The runs differ in (.*)\.")
def _(runs: Runs, names: str) -> bool:
    settings_of = [run.settings for run in runs.values()]
    return all(len({str(one[name]) for one in settings_of}) > 1 for name in names.split(", "))


@RUNS.claim(r"All settings are the same\.")
def _(runs: Runs) -> bool:
    return len({str(run.settings) for run in runs.values()}) == 1


UNIT = "(nats per token|bits per byte)"


@RUNS.claim(rf"(\w+) is best, at NUM {UNIT}; (\w+) is next, NUM higher\.")
def _(runs: Runs, best: str, at: str, unit: str, second: str, by: str) -> bool:
    first, other, *_ = _ranked(runs, unit)
    values = (_value(runs[best], unit), _value(runs[second], unit))
    return (
        values == (first, other) and _near(at, first) and _near(by, other - first) and other > first
    )


@RUNS.claim(rf"(\w+) and (\w+) are tied at NUM {UNIT}\.")
def _(runs: Runs, one: str, other: str, at: str, unit: str) -> bool:
    values = (_value(runs[one], unit), _value(runs[other], unit))
    return _near(at, min(values)) and abs(values[0] - values[1]) < 1e-4


@RUNS.claim(r"(\w+) is last, NUM above the best\.")
def _(runs: Runs, last: str, by: str) -> bool:
    for unit in ("nats per token", "bits per byte"):
        ranked = _ranked(runs, unit)
        if ranked and _value(runs[last], unit) == ranked[-1] and _near(by, ranked[-1] - ranked[0]):
            return True
    return False


@RUNS.claim(
    r"(\w+) reached (\w+)'s final validation loss \(NUM\) with NUM times the tokens"
    r"(?: and NUM times the time)?\."
)
def _(runs: Runs, better: str, worse: str, loss: str, tokens: str, time: str | None) -> bool:
    goal = runs[worse].evaluations[-1]
    reached = next(row for row in runs[better].evaluations if row["loss"] <= goal["loss"])
    assert _near(loss, goal["loss"]) and _near(tokens, reached["tokens"] / goal["tokens"])
    return time is None or _near(time, reached["seconds"] / goal["seconds"])


@RUNS.claim(rf"(.*) differ (only|at most) in their seed: mean NUM {UNIT}, standard deviation NUM\.")
def _(runs: Runs, names: str, how: str, mean: str, unit: str, spread: str) -> bool:
    named = [runs[name] for name in names.split(", ")]
    values = [_value(run, unit) for run in named]
    own = [{k: v for k, v in run.settings.items() if k != "seed"} for run in named]
    assert all(one == own[0] for one in own)
    assert (how == "only") == (len({run.config.seed for run in named}) == len(named))
    return _near(mean, statistics.fmean(values)) and _near(spread, statistics.stdev(values))


@RUNS.claim(r"(\w+) diverged: (.*)\.")
def _(runs: Runs, name: str, reason: str) -> bool:
    return runs[name].divergence == reason


@RUNS.claim(r"Without a validation loss so far: (.*)\.")
def _(runs: Runs, names: str) -> bool:
    return {n for n, run in runs.items() if run.validation_loss is None} == set(names.split(", "))


@st.composite
def _several(draw: st.DrawFn) -> Runs:
    runs = {}
    for name in ("a", "b", "c")[: draw(st.integers(2, 3))]:
        run = draw(_histories(name=name, is_short=True))
        size = draw(st.sampled_from((2048, 2048, 1000)))
        tokenizer = dataclasses.replace(BASE.tokenizer, vocab_size=size)
        config = dataclasses.replace(run.config, tokenizer=tokenizer)
        runs[name] = dataclasses.replace(run, config=config)
    return runs


@quick
@given(_several())
def test_what_is_told_of_several_runs_is_what_their_numbers_are(runs: Runs) -> None:
    RUNS.check(describe_runs(list(runs.values())), runs)


# Studies.

STUDY = Sentences()
STATUS = {"Diverged": "diverged", "Given up because other trials were ahead": "hopeless"}
STATUS |= {"Too large for memory": "too-large"}


def _means(study: Study) -> dict[str, float]:
    return {point.name: point.mean for point in points(study) if point.mean is not None}


@STUDY.claim(r"(\S+) is best, at NUM nats per token(?: \(standard deviation NUM\))?\.")
def _(study: Study, name: str, mean: str, spread: str | None) -> bool:
    means = _means(study)
    [point] = [point for point in points(study) if point.name == name]
    assert (spread is None) == (len(point.losses) < 2)
    assert spread is None or _near(spread, statistics.stdev(point.losses))
    return means[name] == min(means.values()) and _near(mean, means[name])


@STUDY.claim(
    r"(\S+) is next, NUM higher(?:: (more|no more) than twice the standard error of NUM)?\."
)
def _(study: Study, name: str, by: str, how: str | None, error: str | None) -> bool:
    ranked = sorted(_means(study).values())
    if how is not None:
        two = [point for point in points(study) if point.mean in ranked[:2]]
        exact = math.hypot(*(statistics.stdev(p.losses) / len(p.losses) ** 0.5 for p in two[:2]))
        assert _near(error, exact) and (how == "more") == (ranked[1] - ranked[0] > 2 * exact)
    return _means(study)[name] == ranked[1] and _near(by, ranked[1] - ranked[0]) and _number(by) > 0


@STUDY.claim(r"(\S+) is tied with it\.")
def _(study: Study, name: str) -> bool:
    return _means(study)[name] - min(_means(study).values()) < 1e-4


@STUDY.claim(r"(\S+) is the worst that finished, NUM above the best\.")
def _(study: Study, name: str, by: str) -> bool:
    means = _means(study)
    worst = max(means.values())
    return means[name] == worst and _near(by, worst - min(means.values()))


def _best_and_tried(study: Study, field: str) -> tuple[float, list[float]]:
    means = _means(study)
    by_name = {point.name: point for point in points(study)}
    has_run = [p for p in by_name.values() if any(o.status != "too-large" for o in p.outcomes)]
    best = min(means, key=means.__getitem__)
    return by_name[best].changes[field], sorted({point.changes[field] for point in has_run})


@STUDY.claim(r"The best (\S+), NUM, lies inside the range tried, NUM to NUM\.")
def _(study: Study, field: str, *numbers: str) -> bool:
    best, tried = _best_and_tried(study, field)
    value, low, high = map(float, numbers)
    return (value, low, high) == pytest.approx((best, tried[0], tried[-1]), rel=1e-5) and (
        low < value < high
    )


@STUDY.claim(
    r"The best (\S+), NUM, is the (lowest|highest) tried"
    r"(: a wider range may contain a better one| that fits in memory|, and no value beyond it is "
    r"valid)\."
)
def _(study: Study, field: str, value: str, end: str, advice: str) -> bool:
    best, tried = _best_and_tried(study, field)
    assert float(value) == pytest.approx(best, rel=1e-5)
    assert best == (tried[0] if end == "lowest" else tried[-1])
    assert not isinstance(best, bool)
    is_whole = isinstance(best, int) and not _can_be(study.base, field, best + 0.5)
    step = 1 if is_whole else best / 1000 or 1e-4
    further = [
        best + (step if end == "highest" else -step) * i for i in range(1, 64 if is_whole else 2)
    ]
    is_possible = any(_can_be(study.base, field, one) for one in further)
    return "memory" in advice or ("wider" in advice) == is_possible


def _can_be(base: RunConfig, field: str, value: float) -> bool:
    try:
        with_values(base, {field: value}, origin="test")
    except ValueError:
        return False
    return True


@STUDY.claim(r"(Diverged|Given up because other trials were ahead|Too large for memory): (.*)\.")
def _(study: Study, how: str, names: str) -> bool:
    of = {p.name: p.losses_of(STATUS[how]) for p in points(study) if STATUS[how] in p.status}
    shown = [f"{name} ({statistics.fmean(x):.4f})" if x else name for name, x in of.items()]
    return names == ", ".join(shown)


@STUDY.claim(r"NUM of NUM trials? (has|have) not finished yet\.")
def _(study: Study, waiting: str, total: str, verb: str) -> bool:
    open_ones = sum(study.outcome(trial) is None for trial in study.trials)
    assert verb == ("has" if waiting == "1" else "have")
    return (int(waiting), int(total)) == (open_ones, len(study.trials))


@STUDY.claim(r"The baseline ends at NUM nats per token(?: \(standard deviation NUM\))?\.")
def _(study: Study, mean: str, spread: str | None) -> bool:
    return _near(mean, _means(study)["baseline"])


@STUDY.claim(r"(\S+) matches the baseline\.")
def _(study: Study, name: str) -> bool:
    return abs(_means(study)[name] - _means(study)["baseline"]) < 1e-4


@STUDY.claim(
    r"(\S+) is (worse|better) by NUM \((too few seeds for a standard error|no spread across seeds"
    r"|NUM standard errors(: no clear difference)?)\)\."
)
def _(study: Study, name: str, how: str, by: str, doubt: str, errors: str, unclear: str) -> bool:
    gap = _means(study)[name] - _means(study)["baseline"]
    two = [point for point in points(study) if point.name in (name, "baseline")]
    if errors is not None:
        error = math.hypot(*(statistics.stdev(p.losses) / len(p.losses) ** 0.5 for p in two))
        assert _near(errors, abs(gap) / error) and bool(unclear) == (abs(gap) <= 2 * error)
    return (how == "worse") == (gap > 0) and _near(by, abs(gap))


@STUDY.claim(
    r"Of the learning rates tried for (\S+) \((.*) times the baseline's\), NUM times is best: "
    r"(.*)\."
)
def _(study: Study, name: str, factors: str, best: str, rest: str) -> bool:
    tried = {"1": "no-norm", "0.25": "no-norm-lower-rate", "0.0625": "no-norm-lowest-rate"}
    means = {f: m for f, n in tried.items() if (m := _means(study).get(n)) is not None}
    end, gap = re.search(f"it ends at {NUMBER}, {NUMBER} relative to the baseline", rest).groups()
    assert _near(end, means[best]) and _near(gap, means[best] - _means(study)["baseline"])
    return means[best] == min(means.values())


def _outcomes(draw: st.DrawFn, study: Study) -> None:
    statuses = ("finished",) * 4 + ("diverged", "hopeless", "too-large", None)
    for trial in study.trials:
        status = draw(st.sampled_from(statuses))
        if status is not None:
            is_known = status != "too-large" and (status != "diverged" or draw(st.booleans()))
            loss = draw(st.sampled_from((3.0, 3.00001, 3.5)) | LOSSES) if is_known else None
            outcome = Outcome(status=status, validation_loss=loss, step=9)
            outcome.save(study.outcome_path(trial))


OVERS = (
    "optimizer.learning-rate=0.001,0.002,0.003,0.004",
    "optimizer.learning-rate=1,2,3",
    "training.batch-size=1,2,4",
    "model.num-heads=1,2,3,6",
    "optimizer.weight-decay=0.0,0.1,0.2",
    "optimizer.adamw.beta2=0.9,0.99,0.999",
    "tokenizer.vocab-size=257,300,400",
    "model.position=rope,none",
    "model.qk-norm=true,false",
)


@settings(quick, suppress_health_check=[HealthCheck.too_slow], max_examples=25)
@given(st.data())
def test_what_is_told_of_a_sweep_is_what_its_trials_came_to(data: st.DataObject) -> None:
    over, num_seeds = data.draw(st.sampled_from(OVERS)), data.draw(st.integers(1, 2))
    trials = sweep(BASE, [parse_over(over)], num_seeds=num_seeds, is_equal_tokens=False)
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(Path(folder) / "s", kind="sweep", base=BASE, trials=trials)
        _outcomes(data.draw, study)
        STUDY.check(describe_study(study), study)


@settings(quick, suppress_health_check=[HealthCheck.too_slow], max_examples=20)
@given(st.data())
def test_what_is_told_of_ablations_is_what_their_trials_came_to(data: st.DataObject) -> None:
    names = ["no-norm", "no-norm-lower-rate", "no-norm-lowest-rate", "nope"]
    trials = ablate(BASE, names, num_seeds=data.draw(st.integers(1, 2)))
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(Path(folder) / "a", kind="ablate", base=BASE, trials=trials)
        _outcomes(data.draw, study)
        STUDY.check(describe_study(study), study)


@pytest.mark.parametrize(
    ("over", "best", "advice"),
    [
        ("training.batch-size=1,2,4", "1", ", and no value beyond it is valid."),
        ("training.batch-size=1,2,4", "4", ": a wider range may contain a better one."),
        ("optimizer.weight-decay=0.0,0.1,0.2", "0", ", and no value beyond it is valid."),
        ("optimizer.learning-rate=1,2,3", "1", ": a wider range may contain a better one."),
        (
            "optimizer.adamw.beta2=0.9,0.99,0.999",
            "0.999",
            ": a wider range may contain a better one.",
        ),
        ("model.num-heads=1,2,6", "6", ": a wider range may contain a better one."),
    ],
)
def test_advice_can_be_followed(tmp_path: Path, over: str, best: str, advice: str) -> None:
    trials = sweep(BASE, [parse_over(over)], is_equal_tokens=False)
    study = open_study(tmp_path / "s", kind="sweep", base=BASE, trials=trials)
    for trial in trials:
        is_best = f"{next(iter(trial.changes.values())):g}" == best
        outcome = Outcome(status="finished", validation_loss=3.0 if is_best else 4.0, step=9)
        outcome.save(study.outcome_path(trial))
    field = over.partition("=")[0]
    [said] = [line for line in describe_study(study) if f"best {field}, {best}, is the" in line]
    assert said.endswith(advice)


# Range tests.

RANGE = Sentences()
Found = list[RangeFindings]
RATES = r"NUM(?: \((.*)\))?"


def _rates_agree(found: Found, rates: list[float], mean: str, more: str | None) -> bool:
    exact = math.exp(statistics.fmean(map(math.log, rates)))
    assert float(mean) == pytest.approx(exact, rel=0.06)
    assert (f"in {len(rates)} of {len(found)} runs" in (more or "")) == (len(rates) < len(found))
    return (f"geometric mean of {len(rates)}, " in (more or "")) == (len(rates) > 1)


@RANGE.claim(rf"The edge of stability is at a learning rate of {RATES}: from there on, the .*")
def _(found: Found, mean: str, more: str | None) -> bool:
    return _rates_agree(found, [one.edge for one in found if one.edge is not None], mean, more)


@RANGE.claim(
    r"No edge of stability was found up to a learning rate of NUM: raise the upper end of the "
    r"range\."
)
def _(found: Found, highest: str) -> bool:
    assert all(one.edge is None for one in found)
    return float(highest) == pytest.approx(max(one.rates[-1] for one in found), rel=0.06)


@RANGE.claim(
    rf"Training diverged at {RATES}, as expected of the test: the smoothed loss exceeded "
    r"1\.5 times its minimum or was not finite\."
)
def _(found: Found, mean: str, more: str | None) -> bool:
    ends = [one.diverged for one in found if one.diverged is not None]
    return _rates_agree(found, ends, mean, more)


@RANGE.claim(rf"The smoothed loss was lowest at {RATES}\.")
def _(found: Found, mean: str, more: str | None) -> bool:
    assert all(one.smoothed[one.rates.index(one.lowest)] == min(one.smoothed) for one in found)
    return _rates_agree(found, [one.lowest for one in found], mean, more)


@RANGE.claim(rf"It fell fastest at {RATES}\.")
def _(found: Found, mean: str, more: str | None) -> bool:
    fallen = [one.steepest for one in found if min(one.smoothed) < one.smoothed[0]]
    return _rates_agree(found, fallen, mean, more)


@RANGE.claim(
    rf"Suggested centre of a sweep: {RATES}, 10 times below the rate of the lowest loss "
    r"\(a rule of thumb\)\."
)
def _(found: Found, mean: str, more: str | None) -> bool:
    return _rates_agree(found, [one.lowest / 10 for one in found], mean, more)


@quick
@given(
    st.lists(st.lists(LOSSES | st.just(math.nan), min_size=10, max_size=10), min_size=1, max_size=3)
)
def test_what_is_told_of_a_range_is_what_its_curves_are(curves: list[list[float]]) -> None:
    rates = [10 ** (-4 + index / 2) for index in range(10)]
    found = [one for curve in curves if (one := find_range(rates, curve)) is not None]
    RANGE.check(describe_range_of(found), found)
