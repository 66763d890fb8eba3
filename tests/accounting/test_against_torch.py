"""Accounting against the real model: every parameter, every matrix product."""

import ast
import itertools
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import accounting
from accounting import ModelShape, count_parameters, forward_flops, peak_flops_per_second
from nn_layers import ModelConfig, TransformerLM

SIZES = {
    "vocab_size": 97,
    "context_length": 24,
    "d_model": 48,
    "num_layers": 3,
    "num_heads": 6,
    "d_ff": 80,
}
SWITCHES = ("num_kv_heads", "feed_forward", "norm", "qk_norm", "tie_embeddings")
GRID = [
    dict(zip(SWITCHES, row, strict=True))
    for row in itertools.product(
        (None, 2, 1), ("swiglu", "silu"), ("pre", "post", "none"), (False, True), (False, True)
    )
]


def test_parameters_equal_the_models() -> None:
    for switches in GRID:
        with torch.device("meta"):
            model = TransformerLM(ModelConfig(**SIZES, **switches))
        total = count_parameters(ModelShape(**SIZES, **switches)).total
        assert total == model.num_parameters, switches


@pytest.mark.parametrize("num_tokens", [2, 24])  # torch multiplies 1 x 1 without a product
def test_forward_flops_equal_the_counters(num_tokens: int) -> None:
    for switches in GRID:
        with torch.device("meta"):
            model = TransformerLM(ModelConfig(**SIZES, **switches, attention="plain"))
            ids = torch.zeros(1, num_tokens, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(ids)
        ours = forward_flops(ModelShape(**SIZES, **switches), num_tokens).total
        assert ours == counter.get_total_flops(), switches


@pytest.mark.parametrize("num_tokens", [0, 25, -1])
def test_a_length_outside_the_context_is_refused(num_tokens: int) -> None:
    with pytest.raises(ValueError, match=rf"num_tokens is {num_tokens}"):
        forward_flops(ModelShape(**SIZES), num_tokens)


@pytest.mark.parametrize(
    "change",
    [
        {"d_ff": 0},
        {"num_heads": 5},
        {"num_kv_heads": 4},
        {"num_kv_heads": 2.0},
        {"norm": "x"},
        {"feed_forward": "x"},
    ],
)
def test_impossible_shapes_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
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
    for path in Path(accounting.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                assert top == "accounting" or top in sys.stdlib_module_names, (path, name)
