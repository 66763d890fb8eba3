"""Every variant changes what it says, and nothing else."""

import pytest

from trainer.config.presets import load_preset, preset_names, with_values
from trainer.experiments import ABLATIONS, ablate
from trainer.plan.shape import model_shape

BASE = load_preset("tinystories")


def test_every_variant_can_be_run_on_every_preset() -> None:
    for preset in preset_names():
        base = load_preset(preset)
        trials = ablate(base, num_seeds=2)
        assert len(trials) == 2 * (len(ABLATIONS) + 1)
        for trial in trials:
            assert with_values(base, trial.changes, origin="test") is not None


def test_silu_has_as_many_parameters_as_swiglu() -> None:
    from accounting import count_parameters

    [_, trial] = ablate(BASE, ["silu"], num_seeds=1)
    silu = with_values(BASE, trial.changes, origin="test")
    assert silu.model.d_ff == 4 * silu.model.d_model
    sizes = [count_parameters(model_shape(c, vocab_size=10_000)).total for c in (BASE, silu)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_no_norm_is_tried_at_the_same_and_at_lower_rates() -> None:
    trials = {trial.name: trial for trial in ablate(BASE, num_seeds=1)}
    names = ("no-norm", "no-norm-lower-rate", "no-norm-lowest-rate")
    configs = [with_values(BASE, trials[f"{n},seed=0"].changes, origin="test") for n in names]
    assert {config.model.norm for config in configs} == {"none"}
    rates = [config.optimizer.learning_rate for config in configs]
    assert rates == [BASE.optimizer.learning_rate * factor for factor in (1, 1 / 4, 1 / 16)]
