"""The harness, with contestants that only pretend."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from bench.measurement.harness import (
    Entry,
    Order,
    Result,
    Sample,
    SampleError,
    Summary,
    agreeing,
    find_disagreements,
    run_contest,
    run_order,
)

SECONDS = {"slow": 3.0, "fast": 1.0, "middling": 2.0}
ENTRIES = [Entry(name=name, order=Order(contestant=name, task="any")) for name in SECONDS]


def _pretend(calls: list[str], digests: dict[str, str] | None = None) -> Callable[[Order], Sample]:
    def run(order: Order) -> Sample:
        calls.append(order.contestant)
        seconds = SECONDS[order.contestant] + 0.1 * calls.count(order.contestant)
        return Sample(
            metrics={"seconds": seconds},
            digests={"ids": (digests or {}).get(order.contestant, "same")},
            peak_bytes=1000 * len(calls),
        )

    return run


def _contest(num_rounds: int, **options: object) -> dict[str, Result]:
    return run_contest(ENTRIES, num_rounds=num_rounds, rng=random.Random(1), **options)


def test_everyone_takes_a_turn_in_every_round() -> None:
    calls: list[str] = []
    _contest(4, run=_pretend(calls))
    rounds = [calls[i : i + 3] for i in range(0, 12, 3)]
    assert all(sorted(one) == sorted(SECONDS) for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_the_same_seed_gives_the_same_order() -> None:
    first: list[str] = []
    second: list[str] = []
    _contest(5, run=_pretend(first))
    _contest(5, run=_pretend(second))
    assert first == second


def test_a_summary_has_the_median_and_both_ends() -> None:
    results = _contest(5, run=_pretend([]))
    assert results["slow"].summary("seconds") == Summary(
        pytest.approx(3.3), pytest.approx(3.1), pytest.approx(3.5), 5
    )
    assert results["slow"].summary("metres") is None


def test_a_check_runs_once() -> None:
    calls: list[str] = []
    entries = [ENTRIES[0], Entry(name="check", order=ENTRIES[1].order, is_check=True)]
    run_contest(entries, num_rounds=3, rng=random.Random(1), run=_pretend(calls))
    assert Counter(calls) == {"slow": 3, "fast": 1}


def test_who_is_missing_is_never_run() -> None:
    calls: list[str] = []
    results = _contest(
        2, run=_pretend(calls), missing=lambda name: "not installed" if name == "fast" else None
    )
    assert "fast" not in calls
    assert results["fast"].failure == ["not installed"]
    assert results["fast"].summary("seconds") is None


def test_who_fails_is_not_run_again_and_the_others_go_on() -> None:
    calls: list[str] = []

    def run(order: Order) -> Sample:
        if order.contestant == "fast":
            calls.append("fast")
            raise SampleError("panicked at lib.rs")
        return Sample(metrics={"seconds": 1.0})

    results = _contest(3, run=run)
    assert calls == ["fast"]
    assert results["fast"].failure == ["panicked at lib.rs"]
    assert len(results["slow"].samples) == 3


def test_agreement_is_no_disagreement() -> None:
    results = _contest(2, run=_pretend([]))
    assert find_disagreements(results.values()) == []
    assert agreeing(results.values()) == {"ids": sorted(SECONDS)}


def test_a_disagreement_names_who_computed_what() -> None:
    results = _contest(2, run=_pretend([], {"fast": "other"}))
    (line,) = find_disagreements(results.values())
    assert line == "ids differ: same by middling, slow; other by fast" or line == (
        "ids differ: other by fast; same by middling, slow"
    )


def test_one_who_disagrees_with_itself_is_found() -> None:
    turns = iter(range(10))

    def run(order: Order) -> Sample:
        return Sample(metrics={}, digests={"ids": str(next(turns))})

    results = run_contest(ENTRIES[:1], num_rounds=2, rng=random.Random(1), run=run)
    assert find_disagreements(results.values()) != []


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(SampleError, match=r"No module named .bench\.contestants\.nobody"):
        run_order(Order(contestant="nobody", task="encode"))
