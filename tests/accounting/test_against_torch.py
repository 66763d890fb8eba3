"""Accounting against the real model: every parameter, every matrix product."""

import ast
import sys
from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import torch
from accounting_grid import draw_configurations
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_backward_flop, sdpa_flop

import accounting
from accounting import (
    ModelShape,
    backward_flops,
    count_parameters,
    forward_flops,
    peak_flops_per_second,
)
from accounting.flops import recomputed_flops
from accounting.parameters import list_weights
from nn_layers import ModelConfig, TransformerLM

SIZES = {
    "vocab_size": 97,
    "context_length": 24,
    "d_model": 48,
    "num_layers": 3,
    "num_heads": 6,
    "d_ff": 80,
}
GRID = draw_configurations()
WITHOUT_ACCOUNT = {"rope_theta", "attention"}  # change neither size nor work
SOME = GRID[::10]


def _build(device: str, **switches: object) -> TransformerLM:
    with torch.device(device):
        return TransformerLM(ModelConfig(**switches))


def test_the_shape_is_the_models_configuration_field_by_field() -> None:
    """The grid leaves out no field and no choice, so the other tests hold them to the model."""
    ours = {spec.name: spec for spec in fields(ModelShape)}
    theirs = {spec.name: spec for spec in fields(ModelConfig)}
    drawn = {name: {switches[name] for switches in GRID} for name in GRID[0]}
    assert theirs.keys() - WITHOUT_ACCOUNT == drawn.keys()
    for name in drawn:
        choices = set(get_args(theirs[name].type))
        assert ours[name].default == theirs[name].default
        assert choices <= set(get_args(ours[name].type))
        assert get_origin(theirs[name].type) is not Literal or choices == drawn[name]
    # What the shape has beside it, for published models, is off.
    assert all(
        not ours[name].default or ours[name].default == "none" for name in ours.keys() - drawn
    )


def test_parameters_equal_the_models() -> None:
    assert len(GRID) == 200
    for switches in GRID:
        model = _build("meta", **switches)
        shape = ModelShape(**switches)
        assert count_parameters(shape).total == model.num_parameters, switches
        ours = {f"{weight.name}.weight": weight.shape for weight in list_weights(shape)}
        assert ours == {name: tuple(w.shape) for name, w in model.state_dict().items()}, switches


@pytest.mark.parametrize(
    "grid", [SOME, pytest.param(GRID, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_flops_equal_the_counters_on_the_meta_device(grid: list[dict[str, object]]) -> None:
    for switches in grid:
        ours = _counted(switches, attention="math")
        assert _count("meta", switches) == ours, switches


@pytest.mark.parametrize(
    "grid", [GRID[::20], pytest.param(GRID, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_flops_equal_the_counters_where_attention_is_fused(grid: list[dict[str, object]]) -> None:
    for switches in grid:
        ours = _counted(switches, attention="fused")
        assert _count("cpu", {**switches, "attention": "sdpa"}) == ours, switches


def _counted(switches: dict[str, object], *, attention: str) -> tuple[int, int]:
    shape, batch_size = ModelShape(**switches), 2
    backward = backward_flops(shape, attention=attention)
    return batch_size * forward_flops(shape).total, batch_size * backward.total


def _count(device: str, switches: dict[str, object]) -> tuple[int, int]:
    """What torch counts forward and backward for a batch of two."""
    model = _build(device, **switches)
    ids = torch.zeros(2, switches["context_length"], dtype=torch.int64, device=device)
    with FlopCounterMode(display=False, custom_mapping=_missing_formulas()) as counter:
        logits: Tensor = model(ids)
        forward = counter.get_total_flops()
        logits.backward(logits.detach())
    return forward, counter.get_total_flops() - forward


def _missing_formulas() -> dict[object, object]:
    """Give torch its own formula for the CPU's fused attention, where it counts that as nothing.

    Registered from torch 2.15 on; see pytorch/pytorch#195460.
    """
    forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    if forward in flop_registry:
        return {}
    return {forward: sdpa_flop, backward: sdpa_backward_flop}


def test_checkpointing_computes_every_block_once_more() -> None:
    shape = ModelShape(**SIZES)
    blocks = forward_flops(shape).total - forward_flops(shape).head
    assert recomputed_flops(shape, checkpointing=True).total == blocks
    assert recomputed_flops(shape, checkpointing=False).total == 0


def test_a_window_takes_scores_from_the_model_convention_alone() -> None:
    shape = ModelShape(**SIZES, sliding_window=8)
    whole = ModelShape(**SIZES)
    assert forward_flops(shape).total == forward_flops(whole).total
    seen = sum(min(position + 0.5, 8) for position in range(24))  # halves: the diagonal counts half
    per_pair = 4 * shape.d_q * shape.num_layers
    ours = forward_flops(shape, convention="model").scores_and_values
    assert ours == pytest.approx(per_pair * seen, rel=0.01)


@pytest.mark.parametrize("num_tokens", [0, 25, -1])
def test_a_length_outside_the_context_is_refused(num_tokens: int) -> None:
    with pytest.raises(ValueError, match=rf"num_tokens is {num_tokens}"):
        forward_flops(ModelShape(**SIZES), num_tokens)


@pytest.mark.parametrize(
    "change",
    [
        {"d_ff": 0},
        {"d_ff": True},
        {"num_heads": 5},
        {"num_heads": 48},
        {"num_kv_heads": 4},
        {"num_kv_heads": 2.0},
        {"norm": "x"},
        {"qk_norm": 1},
        {"feed_forward": "x"},
        {"sliding_window": 0},
    ],
)
def test_impossible_shapes_are_refused(change: dict[str, object]) -> None:
    name = "rotations" if change == {"num_heads": 48} else next(iter(change))
    with pytest.raises(ValueError, match=name):
        ModelShape(**{**SIZES, **change})


@pytest.mark.parametrize(
    ("device", "dtype", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4e12),
        ("NVIDIA A100-SXM4-80GB", "float32", 19.5e12),
        ("NVIDIA H100 MIG 1g.10gb", "bfloat16", None),
        ("Tesla T4", "bfloat16", None),
        ("NVIDIA H100 80GB HBM3", "int3", None),
        ("cpu", "float32", None),
    ],
)
def test_an_unknown_peak_is_unknown(device: str, dtype: str, peak: float | None) -> None:
    assert peak_flops_per_second(device, dtype) == pytest.approx(peak)


def test_accounting_imports_the_standard_library_alone() -> None:
    folder = Path(accounting.__file__).parent
    for path in folder.rglob("*.py"):
        if path.name == "measure_peak.py":  # the one command that needs torch, as an extra
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                assert top == "accounting" or top in sys.stdlib_module_names, (path, name)
