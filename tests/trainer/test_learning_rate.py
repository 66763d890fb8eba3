"""The learning rate of each step: warm-up, peak, the final value at the last step."""

import dataclasses

import pytest

from trainer.config.presets import load_preset
from trainer.config.run_config import RunConfig, ScheduleConfig
from trainer.plan.learning_rate import learning_rate


def _config(name: str, *, hours: float | None = None) -> RunConfig:
    base = load_preset("quickstart")
    return dataclasses.replace(
        base,
        schedule=ScheduleConfig(name=name, warmup_steps=10, final_fraction=0.1),
        training=dataclasses.replace(base.training, max_steps=100, max_hours=hours),
        optimizer=dataclasses.replace(base.optimizer, learning_rate=2.0),
    )


@pytest.mark.parametrize("name", ["cosine", "linear", "wsd"])
def test_a_schedule_rises_to_the_peak_and_ends_at_its_final_fraction(name: str) -> None:
    config = _config(name)
    rates = [learning_rate(config, step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == pytest.approx(2.0) == max(rates)
    assert rates[-1] == pytest.approx(0.2)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_constant_stays_at_the_peak() -> None:
    config = _config("constant")
    assert [learning_rate(config, step) for step in (1, 10, 100)] == [0.2, 2.0, 2.0]


def test_steps_after_the_schedule_keep_the_final_rate() -> None:
    config = dataclasses.replace(
        _config("cosine"), schedule=ScheduleConfig(warmup_steps=10, total_steps=50)
    )
    assert learning_rate(config, 50) == learning_rate(config, 90) == pytest.approx(0.2)


def test_under_max_hours_the_schedule_follows_the_clock() -> None:
    config = _config("linear", hours=1.0)
    by_steps = learning_rate(config, 55, training_seconds=0)
    assert learning_rate(config, 20, training_seconds=0.55 * 3600) == pytest.approx(by_steps)
    assert learning_rate(config, 20, training_seconds=3600) == pytest.approx(0.2)


def test_a_run_shorter_than_its_warm_up_ends_on_the_way_up() -> None:
    base = _config("cosine")
    config = dataclasses.replace(base, training=dataclasses.replace(base.training, max_steps=5))
    assert [learning_rate(config, step) for step in (1, 5)] == pytest.approx([0.2, 1.0])
