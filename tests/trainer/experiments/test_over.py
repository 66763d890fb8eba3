"""What a sweep goes through: lists, ranges, grids, and all that is no such thing."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config.presets import load_preset
from trainer.experiments import Over, parse_over, sweep

BASE = load_preset("quickstart")


@given(
    st.floats(1e-6, 1e3),
    st.floats(1.5, 1e6),
    st.integers(2, 20),
)
def test_a_logarithmic_range_has_even_ratios(low: float, factor: float, count: int) -> None:
    high = low * factor
    values = parse_over(f"optimizer.learning-rate={low!r}..{high!r}:log:{count}").values
    assert len(values) == count
    assert (values[0], values[-1]) == (pytest.approx(low, rel=1e-2), pytest.approx(high, rel=1e-2))
    ratios = [math.log(b / a) for a, b in pairwise(values)]
    assert ratios == pytest.approx([math.log(factor) / (count - 1)] * (count - 1), abs=0.02)


def test_integers_stay_integers() -> None:
    assert parse_over("model.num-layers=1..8:linear:8").values == tuple(range(1, 9))
    assert parse_over("training.batch-size=1..256:log:5").values == (1, 4, 16, 64, 256)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "optimizer.learning-rate",
        "optimizer.learning-rate=",
        "=1,2",
        "a.b=1,,2",
        "a.b=1,1",
        "a.b=1..2",
        "a.b=1..2:log:1",
        "a.b=0..2:log:3",
        "a.b=2..1:linear:3",
        "a.b=x..y:log:3",
        "a.b=1..nan:linear:3",
        "a.b=1..2:cubic:3",
    ],
)
def test_what_is_no_axis_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="--over") as caught:
        parse_over(text)
    assert repr(text) in str(caught.value)


def test_grid_has_every_point_and_every_seed() -> None:
    overs = [Over("model.num-layers", (1, 2)), Over("optimizer.learning-rate", (1e-3, 2e-3))]
    trials = sweep(BASE, overs, num_seeds=2)
    assert [trial.name for trial in trials[:3]] == [
        "num-layers=1,learning-rate=0.001,seed=0",
        "num-layers=1,learning-rate=0.001,seed=1",
        "num-layers=1,learning-rate=0.002,seed=0",
    ]
    assert len({trial.name for trial in trials}) == 8


def test_batch_sizes_see_as_many_tokens_and_warm_up_as_long() -> None:
    for trial in sweep(BASE, [Over("training.batch-size", (1, 4, 64))]):
        steps, size = trial.changes["training.max-steps"], trial.changes["training.batch-size"]
        assert steps * size * BASE.model.context_length == BASE.total_tokens
        warmup = trial.changes["schedule.warmup-steps"] * size
        assert warmup == BASE.schedule.warmup_steps * BASE.training.batch_size
    [given] = sweep(BASE, [Over("training.batch-size", (4,))], is_equal_tokens=False)
    assert given.changes == {"training.batch-size": 4}


@pytest.mark.parametrize(
    ("overs", "named"),
    [
        ([], "one or more --over"),
        ([Over("seed", (1,)), Over("seed", (2,))], "different fields; given"),
        ([Over("optimizer.learning-rat", (1.0,))], "did you mean 'optimizer.learning-rate'"),
        ([Over("learning-rate", (1.0,))], "unknown field"),
        ([Over("optimizer", (1.0,))], "unknown field"),
        ([Over("optimizer.learning-rate", (-1.0,))], "must be positive"),
        ([Over("model.norm", ("layer",))], "must be one of"),
        ([Over("model.num-heads", (5,))], "divide"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused_before_it_begins(
    overs: list[Over], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        sweep(BASE, overs)
