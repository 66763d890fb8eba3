"""Losses and gradients that are no numbers, or leap: skipped, counted, located, said."""

import math
from pathlib import Path

import pytest
import torch
from faults.tiny_run import outcome, run_tiny, tiny_config
from safetensors.torch import load_file
from torch import nn

import trainer.training.learner
from trainer.config.run_config import RunConfig
from trainer.training.divergence import SPIKE_LOGGED, LossSpikes, find_not_finite


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared")


def _spoil(monkeypatch: pytest.MonkeyPatch, *steps: int, factor: float = math.nan) -> None:
    """Have the losses of some steps come out as something else."""
    build = trainer.training.learner.build_loss
    calls = 0

    def spoiled(*args: object, **options: object) -> object:
        loss_of = build(*args, **options)

        def one(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            step = calls // 2 + 1  # two micro-batches
            calls += 1
            return loss_of(inputs, targets) * (factor if step in steps else 1.0)

        return one

    monkeypatch.setattr(trainer.training.learner, "build_loss", spoiled)


def _config(folder: Path, **changes: object) -> RunConfig:
    return tiny_config(folder, logging__every_steps=1, **changes)


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_step_that_is_not_finite_makes_no_update_and_is_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    _spoil(monkeypatch, 5, 6, factor=factor)
    result, said = run_tiny(_config(folder, training__max_skipped_steps=2), tmp_path / "run")
    assert result.step == 12
    assert "step 6: loss" in said
    assert "1 step made no update, 2 in a row so far" in said
    assert [r["loss"] for r in outcome(tmp_path / "run")["metrics"][5:6]] == [str(factor)]
    weights = load_file(tmp_path / "run" / "checkpoints" / "step-12" / "model.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())


def test_too_many_in_a_row_stop_the_run_and_keep_the_last_good_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _spoil(monkeypatch, *range(5, 13))
    with pytest.raises(ValueError, match=r"diverged: at step 7 .* 3 steps in a row") as e:
        run_tiny(_config(folder, training__max_skipped_steps=2), tmp_path / "run")
    assert "the first tensor that is not finite is none, when the step was computed" in str(e.value)
    assert "start again with a lower optimizer.learning-rate" in str(e.value)
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert names == {"step-2", "step-4"}


def test_a_run_does_not_end_well_on_a_skipped_step(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _spoil(monkeypatch, 12)
    with pytest.raises(ValueError, match="training diverged: at step 12"):
        run_tiny(_config(folder), tmp_path / "run")


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(inputs))


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda m: m.second.bias.data.fill_(math.nan), "the weight second.bias"),
        (lambda m: m.first.weight.data.fill_(3e38), "the output of first"),
        (lambda m: m.second.weight.data.fill_(3e38), "the output of second"),
        (lambda m: None, "the loss itself"),
    ],
)
def test_the_first_tensor_that_is_not_finite_is_named(spoil: object, where: str) -> None:
    torch.manual_seed(0)
    model = _Model()
    spoil(model)
    batch = (torch.full((1, 2), 100.0), torch.zeros(1))
    loss = find_not_finite(model, [batch], lambda x, y: model(x).sum() / y.sum())
    assert loss == where


def test_a_gradient_that_is_not_finite_is_named() -> None:
    model = _Model()
    with torch.no_grad():
        model.first.weight.zero_()
        model.first.bias.zero_()
    batch = (torch.ones(1, 2), torch.zeros(1))
    # The square root of zero has no slope, but is a number.
    found = find_not_finite(model, [batch], lambda x, y: model.first(x).sum().abs().sqrt())
    assert found == "the gradient of first.bias"


def test_a_loss_that_leaps_is_a_spike_and_an_uneven_one_is_not() -> None:
    spikes = LossSpikes()
    uneven = [3.0 + 0.05 * (-1) ** i for i in range(SPIKE_LOGGED)]
    assert [spikes.height(loss) for loss in uneven] == [None] * SPIKE_LOGGED
    assert spikes.height(3.2) is None
    assert spikes.height(5.0) == pytest.approx(2.0, abs=0.1)
    assert spikes.height(math.nan) is None
