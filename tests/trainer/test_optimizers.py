"""The registry of optimizers: what an entry says of itself is what its optimizer does."""

import dataclasses

import pytest
import torch

from accounting.optimizer import is_hidden_matrix
from accounting.parameters import Weight
from optim import FlatAdamW
from trainer.config.optimizers import OPTIMIZER_NAMES, OptimizerConfig
from trainer.config.presets import load_preset
from trainer.plan.model import build_model

BASE = load_preset("quickstart")


def _built(name: str) -> tuple[OptimizerConfig, torch.nn.Module, torch.optim.Optimizer]:
    small = dataclasses.replace(BASE.model, d_model=24, num_layers=2, d_ff=32)
    config = dataclasses.replace(BASE, model=small)
    optimizer = dataclasses.replace(BASE.optimizer, name=name)
    model = build_model(config, vocab_size=30, device=torch.device("cpu"))
    return optimizer, model, optimizer.build(model)


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_the_state_of_every_parameter_is_what_accounting_is_told(name: str) -> None:
    config, model, optimizer = _built(name)
    cost = config.section.cost
    assert type(optimizer).__name__ == cost.name
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for full_name, parameter in model.named_parameters():
        weight = Weight(full_name.removesuffix(".weight"), tuple(parameter.shape))
        rule = cost.rule_of(is_hidden=is_hidden_matrix(weight))
        state = optimizer.state.get(parameter, {})
        like = {key for key, value in state.items() if value.shape == parameter.shape}
        assert (like, state.keys() - like) == (
            set(rule.state),
            {"step"} if rule.is_counted else set(),
        )


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_every_parameter_is_in_a_group_and_gains_do_not_decay(name: str) -> None:
    _, model, optimizer = _built(name)
    grouped = [id(one) for group in optimizer.param_groups for one in group["params"]]
    assert sorted(grouped) == sorted(map(id, model.parameters()))
    for group in optimizer.param_groups:
        decays = {0.0 if parameter.dim() < 2 else 0.1 for parameter in group["params"]}
        assert decays == {group["weight_decay"]}


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_a_graph_holds_the_steps_that_flat_buffers_make(name: str) -> None:
    config, _, optimizer = _built(name)
    if config.section.fits_graph:
        assert FlatAdamW(optimizer).is_current()
    else:
        assert type(optimizer).__name__ != "AdamW"


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_a_section_calls_its_fields_by_their_options(name: str) -> None:
    section = getattr(BASE.optimizer, name)
    for spec in dataclasses.fields(section):
        option = f"optimizer.{name}.{spec.name.replace('_', '-')}"
        with pytest.raises(ValueError, match=rf"^{option} is \[\], but must be"):
            dataclasses.replace(section, **{spec.name: []})
