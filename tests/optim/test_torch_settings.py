"""Every public name of optim under every global setting of torch."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_settings import EACH_SETTING, SETTINGS, Run, assert_same, observe

import optim
from optim import (
    SGD,
    AdamW,
    FlatAdamW,
    Muon,
    clip_gradients_,
    lr_cosine_schedule,
    lr_linear_schedule,
    lr_wsd_schedule,
    muon_groups,
    orthogonalize,
    parameter_groups,
)

Row = Callable[[], tuple[Run, Sequence[Tensor]]]


def _model() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    model = nn.ModuleDict({"lm_head": nn.Linear(6, 9), "hidden": nn.Linear(6, 6, bias=False)})
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return model


def _updated(build: Callable[[nn.Module], torch.optim.Optimizer]) -> Row:
    """Two updates, the state of the first of which is made under the setting."""

    def row() -> tuple[Run, Sequence[Tensor]]:
        model = _model()
        optimizer = build(model)

        def run() -> list[Any]:
            for _ in range(2):
                optimizer.step()
            values = [one.detach() for one in model.parameters()]
            for state in optimizer.state.values():
                values += [state[name] for name in sorted(state)]
            return values

        return run, []

    return row


def _flat() -> tuple[Run, Sequence[Tensor]]:
    model = _model()
    parameters = list(model.parameters())
    gradients = [one.grad for one in parameters]

    def run() -> list[Tensor]:
        flat = FlatAdamW(AdamW(parameters, lr=0.1), copy_dtype=torch.bfloat16)
        flat.learning_rate.fill_(0.1)
        flat.collect(gradients)
        norm = flat.update(1.0)
        return [norm, flat.copy, *(one.detach() for one in parameters)]

    return run, []


def _clipped() -> tuple[Run, Sequence[Tensor]]:
    parameters = list(_model().parameters())
    without = nn.Parameter(torch.zeros(3))

    def run() -> list[Tensor]:
        norms = [clip_gradients_(some, 1.0) for some in (parameters, [without], without, [])]
        return [*norms, *(one.grad for one in parameters)]

    return run, []


def _orthogonalized() -> tuple[Run, Sequence[Tensor]]:
    matrices = [parameter.detach() for parameter in _model().parameters() if parameter.dim() == 2]
    return lambda: [orthogonalize(one) for one in matrices], []


def _plain(function: Callable[[], object]) -> Row:
    return lambda: (function, [])


def _grouped(group: Callable[[nn.Module], list[dict[str, Any]]]) -> Row:
    """Groups with the shapes of their parameters."""

    def row() -> tuple[Run, Sequence[Tensor]]:
        model = _model()
        return lambda: [
            {**one, "params": [tuple(each.shape) for each in one["params"]]} for one in group(model)
        ], []

    return row


ROWS: dict[str, Row] = {
    "SGD": _updated(lambda model: SGD(model.parameters(), lr=0.1, weight_decay=0.1, decay=True)),
    "AdamW": _updated(lambda model: AdamW(model.parameters(), lr=0.1)),
    "FlatAdamW": _flat,
    "Muon": _updated(
        lambda model: Muon(muon_groups(model, weight_decay=0.1, ends=["lm_head"]), lr=0.1)
    ),
    "clip_gradients_": _clipped,
    "lr_cosine_schedule": _plain(lambda: lr_cosine_schedule(5, 1.0, 0.1, 2, 9)),
    "lr_linear_schedule": _plain(lambda: lr_linear_schedule(5, 1.0, 0.1, 2, 9)),
    "lr_wsd_schedule": _plain(lambda: lr_wsd_schedule(5, 1.0, 0.1, 2, 2, 9)),
    "muon_groups": _grouped(lambda model: muon_groups(model, weight_decay=0.1, ends=["lm_head"])),
    "orthogonalize": _orthogonalized,
    "parameter_groups": _grouped(lambda model: parameter_groups(model, weight_decay=0.1)),
}
# What torch's own products are rounded by, and Muon's with them.
ROUNDED = ("Muon", "orthogonalize")


def test_every_public_name_has_a_row() -> None:
    assert set(ROWS) == set(optim.__all__)


@EACH_SETTING
@pytest.mark.parametrize("name", ROWS)
def test_what_was_built_before_a_setting_computes_the_same_under_it(name, setting) -> None:
    expected = observe(*ROWS[name](), setting=None)
    is_rounded = name in ROUNDED and setting == "medium precision"
    found = observe(*ROWS[name](), setting=setting)
    assert_same(found, expected, rounding=0.05 if is_rounded else 0.0)


@EACH_SETTING
@pytest.mark.parametrize(
    ("ours", "torchs"),
    [(AdamW, torch.optim.AdamW), (Muon, torch.optim.Muon), (SGD, torch.optim.SGD)],
)
def test_state_made_under_a_setting_is_of_the_kind_of_torchs(ours, torchs, setting) -> None:
    found = []
    for kind in (ours, torchs):
        parameter = nn.Parameter(torch.ones(3, 3, dtype=torch.bfloat16))
        parameter.grad = torch.ones_like(parameter)
        with SETTINGS[setting]():
            optimizer = kind([parameter], lr=0.1)
            optimizer.step()
        state = optimizer.state[parameter].values()
        found.append([(one.dtype, one.device, one.is_inference()) for one in state])
    if setting == "default type float64" and ours is AdamW:
        # Torch then counts in float64, which a checkpoint of another program would not fit.
        assert found[1][0][0] == torch.float64
        found[1][0] = (torch.float32, *found[1][0][1:])
    assert found[0] == found[1]


@EACH_SETTING
def test_updates_are_counted_one_by_one(setting) -> None:
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    with SETTINGS[setting]():
        optimizer = AdamW([parameter])
        for _ in range(300):
            optimizer.step()
        count = optimizer.state[parameter]["step"]
        assert count == 300
        count.fill_(2**24 - 2)
        optimizer.step()
        optimizer.step()
    assert count == 2**24


def test_clipping_leaves_no_graph_behind() -> None:
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = (parameter * 2).clone()  # as create_graph=True leaves it
    norm = clip_gradients_([parameter], 1.0)
    assert not norm.requires_grad
    assert float(norm) == pytest.approx(12**0.5)
