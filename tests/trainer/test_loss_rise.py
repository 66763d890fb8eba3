"""What counts as a divergence: a rise out of the noise that stays, and nothing else."""

import importlib.util
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainer.evaluation.loss_rise import find_rise
from trainer.experiments.lr_range import has_diverged

_SPEC = importlib.util.spec_from_file_location(
    "simulated_losses", Path(__file__).with_name("simulated_losses.py")
)
simulated = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(simulated)


def _rates(
    draw: Callable[..., list[float]], kinds: dict[str, object], *, runs: int, seed: int
) -> dict[tuple[str, object], float]:
    """Return the share of runs that are called diverged, by each property of theirs, and of all."""
    rng, called, drawn = np.random.default_rng(seed), Counter(), Counter()
    for kind, n, noise, scale in simulated.cases(kinds):
        for _ in range(runs):
            is_called = find_rise(draw(rng, kind, n, noise=noise, scale=scale)) is not None
            for key in (("all", ""), ("kind", kind), ("losses", n), ("noise", noise)):
                called[key] += is_called
                drawn[key] += 1
    return {key: called[key] / drawn[key] for key in drawn}


def test_noise_is_no_divergence_and_a_divergence_is_found() -> None:
    alarms = _rates(simulated.falling, simulated.FALLS, runs=1, seed=0)
    found = _rates(simulated.diverging, simulated.RISES, runs=1, seed=0)
    assert alarms["all", ""] < 0.01 and found["all", ""] >= 0.95


@pytest.mark.matrix
def test_the_published_rates_of_error() -> None:
    alarms = _rates(simulated.falling, simulated.FALLS, runs=20, seed=1)
    found = _rates(simulated.diverging, simulated.RISES, runs=20, seed=1)
    print(*(f"{key}: {100 * share:.2f} %" for key, share in alarms.items()), sep="\n")
    print(*(f"{key}: {100 * share:.1f} %" for key, share in found.items()), sep="\n")
    assert alarms["all", ""] < 0.01 and found["all", ""] >= 0.95
    remembering = ("noise", "memory of 10")  # wanders as far as a divergence would
    assert all(share < 0.015 for key, share in alarms.items() if key != remembering)
    few = [("losses", 5), ("losses", 8), ("losses", 10)]
    assert all(share > 0.9 for key, share in found.items() if key not in few)


def test_a_detour_at_a_high_rate_is_no_divergence() -> None:
    """As logged by a tiny model whose rate of 0.1 was still rising: best of its sweep."""
    losses = [5.7, 5.4, 4.3, 2.9, 2.1, 1.6, 1.3, 1.1, 1.0, 0.9, 0.84, 0.83, 0.85, 1.0, 1.4, 1.7]
    assert find_rise([*losses, 1.73, 1.71]) is None
    assert find_rise([*losses, 3.0, 4.0, 5.0]) is not None


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_what_counts_does_not_depend_on_the_unit(scale: float) -> None:
    rng = np.random.default_rng(0)
    losses = simulated.diverging(rng, "step that stays", 40, noise="normal", scale=0.1)
    rise, scaled = find_rise(losses), find_rise([scale * loss for loss in losses])
    assert scaled.end == pytest.approx(scale * rise.end) and scaled.end > scaled.lowest


def test_a_spike_at_the_very_end_is_no_divergence() -> None:
    losses = [3 + 3 * math.exp(-step / 10) for step in range(60)]
    assert find_rise([*losses, 30.0]) is None
    assert find_rise([*losses, 30.0, 30.0, 30.0]) is not None


@pytest.mark.parametrize("losses", [[], [7.6], [7.6, 9.0], [7.6] * 50, [0.0] * 9, [0.0, 1.0, 1.0]])
def test_too_little_shows_nothing(losses: list[float]) -> None:
    assert find_rise(losses) is None


def test_a_loss_however_high_is_told_shortly() -> None:
    assert str(find_rise([7.6, 7.0, 7.0, 7.0, 1e300, 1e300, 1e300, 1e308])) == (
        "the training loss fell to 7.00 and ended at 1e+300"
    )
    assert str(find_rise([7.5, 9, 12, 15, 20, 25, 30, 40])).startswith(
        "the training loss began at 7.50 and ended at"
    )


def test_a_range_test_over_noisy_losses_goes_on() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        losses = simulated.falling(rng, "power law", 100, noise="normal", scale=0.4)
        assert not any(has_diverged(losses[:end]) for end in range(1, 101))
        risen = [losses[-1] * 1.2**step for step in range(12)]
        assert has_diverged([*losses, *risen])
