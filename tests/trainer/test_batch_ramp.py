"""The batch ramp: the same tokens in more steps, windows of their own, a rate that follows."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config.batch_ramp import parse_ramp
from trainer.config.presets import config_from_toml, config_to_toml, load_preset
from trainer.config.run_config import RunConfig
from trainer.data.window_starts import window_starts
from trainer.plan.learning_rate import learning_rate


def _config(
    ramp: str | None, *, batch_size: int = 32, max_steps: int = 50, name: str = "adamw"
) -> RunConfig:
    base = load_preset("quickstart")
    return dataclasses.replace(
        base,
        optimizer=dataclasses.replace(base.optimizer, name=name),
        training=dataclasses.replace(
            base.training, batch_size=batch_size, max_steps=max_steps, batch_ramp=ramp
        ),
    )


@st.composite
def _configs(draw: st.DrawFn) -> RunConfig:
    sizes = sorted(draw(st.sets(st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16]), max_size=4)))
    ends = sorted(draw(st.sets(st.integers(1, 10**6), min_size=len(sizes), max_size=len(sizes))))
    ramp = ",".join(f"{end}:{size}" for end, size in zip(ends, sizes, strict=True))
    return _config(ramp or None, batch_size=48, max_steps=draw(st.integers(1, 60)))


@given(_configs())
def test_a_ramp_sees_exactly_the_tokens_of_whole_batches(config: RunConfig) -> None:
    sizes = [config.batch_size_at(step) for step in range(1, config.num_steps + 1)]
    assert sum(sizes) * config.model.context_length == config.total_tokens
    assert sizes == sorted(sizes)
    tokens = [config.tokens_after(step) for step in range(config.num_steps + 1)]
    assert [b - a for a, b in itertools.pairwise(tokens)] == [
        size * config.model.context_length for size in sizes
    ]


@given(_configs(), st.integers(1, 60))
def test_a_longer_run_begins_as_the_shorter_one(config: RunConfig, more: int) -> None:
    training = dataclasses.replace(config.training, max_steps=config.training.max_steps + more)
    longer = dataclasses.replace(config, training=training)
    for step in range(1, config.num_steps + 1):
        assert longer.batch_size_at(step) == config.batch_size_at(step)
        assert longer.tokens_after(step) == config.tokens_after(step)


def test_a_stage_ends_at_the_nearest_whole_batch() -> None:
    config = _config("10_000:8,40_000:16")  # 4,096 tokens a whole batch: after 2 and 10 of them
    sizes = [config.batch_size_at(step) for step in range(1, config.num_steps + 1)]
    assert sizes == [8] * 8 + [16] * 16 + [32] * 40


def test_without_a_ramp_nothing_changes() -> None:
    config = _config(None)
    assert config.num_steps == config.training.max_steps == 50
    assert [config.batch_size_at(step) for step in (1, 50)] == [32, 32]


def test_steps_of_a_ramp_see_windows_of_their_own() -> None:
    config = _config("60_000:8,120_000:16")
    starts = [
        int(start)
        for step in range(1, config.num_steps + 1)
        for start in window_starts(
            seed=0, step=step - 1, indices=range(config.batch_size_at(step)), num_starts=2**60
        )
    ]
    assert len(set(starts)) == len(starts) == 32 * 50


@pytest.mark.parametrize(
    ("name", "share"), [("adamw", math.sqrt(1 / 4)), ("muon", math.sqrt(1 / 4)), ("sgd", 1 / 4)]
)
def test_the_rate_goes_by_tokens_and_follows_the_batch(name: str, share: float) -> None:
    ramped, whole = _config("81_920:8", name=name), _config(None, name=name)
    # 20 whole batches are 80 steps of a quarter.
    assert learning_rate(ramped, 80) == pytest.approx(share * learning_rate(whole, 20))
    assert learning_rate(ramped, 4) == pytest.approx(share * learning_rate(whole, 1))
    assert learning_rate(ramped, 81) == learning_rate(whole, 21)
    assert learning_rate(ramped, ramped.num_steps) == learning_rate(whole, 50)


@pytest.mark.parametrize(
    ("ramp", "message"),
    [
        ("", "must be TOKENS:WINDOWS"),
        ("1000", "must be TOKENS:WINDOWS"),
        ("0.5:8", "must be TOKENS:WINDOWS"),
        ("1000:8:4", "must be TOKENS:WINDOWS"),
        ("1000:0", "positive and grow"),
        ("-5:8", "positive and grow"),
        ("1000:8,900:16", "positive and grow"),
        ("1000:8,2000:4", "positive and grow"),
        ("1000:5", "must divide training.batch-size 32"),
        ("1000:32", "must divide training.batch-size 32 and be fewer"),
    ],
)
def test_an_impossible_ramp_is_refused(ramp: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_ramp(ramp, batch_size=32)


def test_a_micro_batch_larger_than_an_early_batch_is_no_error() -> None:
    training = dataclasses.replace(_config("10_000:2").training, micro_batch_size=8)
    assert training.batch_ramp == "10_000:2"


def test_a_ramp_survives_the_saved_configuration() -> None:
    config = _config("10_000:2,20_000:8", name="muon")
    assert config_from_toml(config_to_toml(config), origin="config.toml") == config
