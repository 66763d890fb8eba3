"""What a run is expected to take, said before it and held against the facts after it."""

import dataclasses
from pathlib import Path

import pytest
import torch

from accounting import count_parameters
from trainer.checkpoint.run_checkpoint import take_snapshot, write_checkpoint
from trainer.config.optimizers import OPTIMIZER_NAMES, AdamWSection
from trainer.config.presets import load_preset
from trainer.config.run_config import RunConfig
from trainer.plan import estimate
from trainer.plan.compute import plan_compute
from trainer.plan.estimate import Expectation, announce_expectation, compare_with_facts, expect_run
from trainer.plan.learning_rate import learning_rate, set_learning_rate
from trainer.plan.model import build_model
from trainer.plan.shape import model_shape

CPU = torch.device("cpu")


def _config(optimizer: str = "adamw", **training: object) -> RunConfig:
    config = load_preset("quickstart")
    small = {"num_layers": 2, "d_model": 24, "d_ff": 32}
    unusual = {"name": optimizer, "weight_decay": 0.013, "adamw": AdamWSection(beta1=0.87)}
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **small),
        optimizer=dataclasses.replace(config.optimizer, **unusual),
        training=dataclasses.replace(config.training, compile="off", **training),
    )


def _expect(config: RunConfig) -> tuple[Expectation, torch.nn.Module, torch.optim.Optimizer]:
    model = build_model(config, vocab_size=300, device=CPU)
    optimizer = config.optimizer.build(model)
    plan = plan_compute(config, device=CPU)
    return expect_run(config, model, optimizer, plan=plan, device=CPU), model, optimizer


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_a_checkpoint_takes_to_the_byte_what_was_expected(name: str, tmp_path: Path) -> None:
    config = _config(name, max_steps=7)
    expectation, model, optimizer = _expect(config)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_learning_rate(optimizer, learning_rate(config, 7))
    optimizer.step()
    snapshot = take_snapshot(step=7, model=model, optimizer=optimizer, state={}, config_toml="")
    where = write_checkpoint(tmp_path, snapshot)
    _, disk = compare_with_facts(expectation, where)
    assert disk.found == disk.expected
    assert disk.error == 0.0


def test_the_memory_of_a_step_is_more_than_weights_and_moments() -> None:
    config = _config()
    expectation, _, _ = _expect(config)
    parameters = count_parameters(model_shape(config, vocab_size=300)).total
    assert expectation.peak_memory_bytes > 12 * parameters
    memory, _ = compare_with_facts(expectation, None)
    assert memory.expected == expectation.peak_memory_bytes
    assert memory.found is None or memory.found > 0


def test_an_evaluation_of_many_windows_is_the_peak() -> None:
    config = _config(batch_size=1)
    config = dataclasses.replace(
        config, evaluation=dataclasses.replace(config.evaluation, batch_size=512)
    )
    assert _expect(config)[0].peak_phase == "evaluation"


@pytest.mark.parametrize(("free", "warns"), [(10, True), (10**12, False), (None, False)])
def test_a_run_that_does_not_fit_is_warned_of(
    free: int | None, warns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_free_bytes", lambda device, already: free)
    said: list[str] = []
    expectation, _, _ = _expect(_config())
    announce_expectation(expectation, is_compiled=True, say=said.append)
    assert said[0].startswith("expected: at most ")
    assert expectation.fits != warns
    assert any("lower training.micro-batch-size" in line for line in said) == warns


def test_what_the_system_does_not_tell_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(estimate, "_CLEAR", tmp_path / "none" / "none")
    monkeypatch.setattr(estimate, "_LIMITS", (tmp_path / "none", tmp_path / "none"))
    expectation, _, _ = _expect(_config())
    memory, disk = compare_with_facts(expectation, None)
    assert (memory.found, memory.error, disk.found) == (None, None, None)


def test_a_containers_limit_bounds_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "max").write_text("3000\n")
    (tmp_path / "current").write_text("1000\n")
    monkeypatch.setattr(estimate, "_LIMITS", (tmp_path / "max", tmp_path / "current"))
    assert estimate._free_bytes(CPU, already=50) == 2050
    (tmp_path / "max").write_text("max\n")
    assert estimate._free_bytes(CPU, already=0) > 10**6
