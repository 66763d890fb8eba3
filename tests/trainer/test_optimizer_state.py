"""State that no step could use is refused when it is loaded, by the name of its file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from faults.forgery import forge_optimizer
from torch import Tensor, nn

from optim import SGD, AdamW, Muon
from trainer.checkpoint.optimizer_state import require_usable
from trainer.checkpoint.run_checkpoint import (
    inspect_checkpoint,
    load_into,
    take_snapshot,
    write_checkpoint,
)

Damage = Callable[[dict[str, Tensor], Any], object]


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 7))


def _muon(model: nn.Module) -> Muon:
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    return Muon([{"params": matrices, "rule": "muon"}, {"params": vectors, "rule": "adamw"}])


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "adamw": lambda model: AdamW(model.parameters()),
    "muon": _muon,
    "sgd": lambda model: SGD(model.parameters()),
    "decaying sgd": lambda model: SGD(model.parameters(), decay=True),
    "torch's adamw": lambda model: torch.optim.AdamW(model.parameters()),
    "torch's momentum": lambda model: torch.optim.SGD(model.parameters(), momentum=0.9),
}


def _trained(build: Callable[[nn.Module], torch.optim.Optimizer], *, num_steps: int = 2) -> Any:
    model = _model()
    optimizer = build(model)
    for _ in range(num_steps):
        model(torch.arange(7)).square().sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("num_steps", [0, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_that_an_optimizer_made_is_usable(name: str, num_steps: int) -> None:
    state = _trained(OPTIMIZERS[name], num_steps=num_steps)[1].state_dict()
    fresh = OPTIMIZERS[name](_model())
    require_usable(state, fresh)
    assert fresh.state_dict()["state"] == {}, "it is only looked at"


def test_state_of_parameters_without_gradients_may_be_missing() -> None:
    model, optimizer = _trained(OPTIMIZERS["adamw"])
    state = optimizer.state_dict()
    del state["state"][0]
    require_usable(state, OPTIMIZERS["adamw"](model))


def _tensor(name: str, change: Callable[[Tensor], Tensor]) -> Damage:
    return lambda tensors, rest: tensors.update({name: change(tensors[name])})


def _setting(name: str, value: object) -> Damage:
    """Set something of the first group; objects are lists of pairs there."""

    def damage(tensors: dict[str, Tensor], rest: Any) -> None:
        pairs = dict(rest["state"]["map"])["param_groups"][0]["map"]
        pairs[:] = [pair for pair in pairs if pair[0] != name] + [[name, value]]

    return damage


WEIGHT, COUNT = "state.state.1.exp_avg", "state.state.1.step"
DAMAGE: dict[str, tuple[Damage, str]] = {
    "transposed": (_tensor(WEIGHT, lambda t: t.T.contiguous()), r"shape \(4, 6\), but"),
    "one element": (_tensor(WEIGHT, lambda t: t.sum()), r"shape \(\), but must be"),
    "whole numbers": (_tensor(WEIGHT, Tensor.long), r"torch\.int64 of shape \(6, 4\)"),
    "wider": (_tensor(WEIGHT, Tensor.double), r"torch\.float64 of shape"),
    "a count of nan": (_tensor(COUNT, lambda t: t * torch.nan), "step of .* is nan"),
    "a negative count": (_tensor(COUNT, lambda t: -t), r"step of .* is -2\.0"),
    "a count a row": (_tensor(COUNT, lambda t: t.expand(6).clone()), "shape"),
    "a list as rate": (_setting("lr", [0.1]), r"lr of group 0 is \[0\.1\]"),
    "a string as rate": (_setting("lr", "0.1"), "lr of group 0 is '0.1'"),
    "a truth as rate": (_setting("lr", True), "lr of group 0 is True"),
    "no rate": (_setting("lr", None), "lr of group 0 is None"),
    "a negative rate": (_setting("lr", -1.0), r"lr of group 0 is -1\.0"),
    "a rate of nan": (_setting("lr", {"float": "nan"}), "lr of group 0 is nan"),
    "one beta": (_setting("betas", {"tuple": [0.9]}), r"betas of group 0 is \(0\.9,\)"),
    "another setting": (_setting("new", 1), "has the settings"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_state_that_no_step_could_use_is_refused_and_nothing_changes(
    tmp_path: Path, kind: str
) -> None:
    damage, words = DAMAGE[kind]
    model, optimizer = _trained(OPTIMIZERS["adamw"])
    snapshot = take_snapshot(step=2, model=model, optimizer=optimizer, state={}, config_toml="")
    path = write_checkpoint(tmp_path, snapshot)
    forge_optimizer(path, damage)

    fresh = _model()
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    fresh_optimizer = OPTIMIZERS["adamw"](fresh)
    with pytest.raises(ValueError, match=words) as caught:
        load_into(inspect_checkpoint(path), fresh, fresh_optimizer)
    assert str(caught.value).startswith(f"{path / 'optimizer.safetensors'} is damaged: ")
    assert f"remove {path} to resume from the checkpoint before" in str(caught.value)
    assert fresh_optimizer.state_dict() == OPTIMIZERS["adamw"](fresh).state_dict()
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())


def test_a_setting_that_muon_had_and_no_run_used_is_dropped(tmp_path: Path) -> None:
    model, optimizer = _trained(OPTIMIZERS["muon"])
    snapshot = take_snapshot(step=2, model=model, optimizer=optimizer, state={}, config_toml="")
    path = write_checkpoint(tmp_path, snapshot)
    forge_optimizer(path, _setting("row_blocks", None))
    fresh = _model()
    fresh_optimizer = OPTIMIZERS["muon"](fresh)
    load_into(inspect_checkpoint(path), fresh, fresh_optimizer)
    assert "row_blocks" not in fresh_optimizer.param_groups[0]
    forge_optimizer(path, _setting("row_blocks", [[1, 2]]))
    with pytest.raises(ValueError, match=r"has the settings .*row_blocks"):
        load_into(inspect_checkpoint(path), fresh, fresh_optimizer)


@pytest.mark.parametrize("missing", ["exp_avg_sq", "step"])
def test_a_part_of_the_state_that_is_missing_is_named(missing: str) -> None:
    model, optimizer = _trained(OPTIMIZERS["adamw"])
    state = optimizer.state_dict()
    del state["state"][3][missing]
    with pytest.raises(ValueError, match=f"parameter 3 has the state .*but .*'{missing}'"):
        require_usable(state, OPTIMIZERS["adamw"](model))


def test_state_of_no_parameter_is_refused() -> None:
    model, optimizer = _trained(OPTIMIZERS["adamw"])
    state = optimizer.state_dict()
    state["state"][99] = state["state"][0]
    with pytest.raises(ValueError, match=r"parameters \[99\], which no group has"):
        require_usable(state, OPTIMIZERS["adamw"](model))
