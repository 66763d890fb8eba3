"""Layers built with CS336's own arguments equal those of a configuration."""

import ast
import inspect
import textwrap

import pytest
import torch

from nn_layers import ModelConfig, TransformerBlock, TransformerLM

BLOCK = {"d_model": 16, "num_heads": 4, "d_ff": 24, "max_seq_len": 12, "theta": 500.0}
MODEL = {
    **{"vocab_size": 31, "context_length": 12, "d_model": 16, "num_layers": 2},
    **{"num_heads": 4, "d_ff": 24, "rope_theta": 500.0},
}
CONFIG = ModelConfig(31, 12, 16, 2, 4, 24, rope_theta=500.0)


def _same(ours: torch.nn.Module, theirs: torch.nn.Module, x: torch.Tensor) -> None:
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("is_named", [False, True])
def test_a_block_takes_the_handouts_arguments(is_named: bool) -> None:
    block = TransformerBlock(**BLOCK) if is_named else TransformerBlock(*BLOCK.values())
    _same(block, TransformerBlock(CONFIG), torch.randn(2, 12, 16))


@pytest.mark.parametrize("is_named", [False, True])
def test_a_model_takes_the_handouts_arguments(is_named: bool) -> None:
    model = TransformerLM(**MODEL) if is_named else TransformerLM(*MODEL.values())
    assert model.config == CONFIG
    _same(model, TransformerLM(config=CONFIG), torch.arange(24).view(2, 12))


def test_the_wavelengths_base_is_the_configurations_where_it_is_not_given() -> None:
    assert TransformerLM(31, 12, 16, 2, 4, 24).config == ModelConfig(31, 12, 16, 2, 4, 24)


def test_device_and_type_reach_the_weights() -> None:
    where = {"device": "meta", "dtype": torch.bfloat16}
    for layer in (TransformerBlock(**BLOCK, **where), TransformerLM(**MODEL, **where)):
        assert {(one.device.type, one.dtype) for one in layer.parameters()} == {
            ("meta", torch.bfloat16)
        }


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: TransformerBlock(16, 4), TypeError, "missing .* required"),
        (lambda: TransformerLM(), TypeError, "missing .* required"),
        (lambda: TransformerLM(CONFIG, d_ff=3), TypeError, "unexpected keyword argument 'd_ff'"),
        (lambda: TransformerBlock(**BLOCK, norm="post"), TypeError, "unexpected .* 'norm'"),
        (lambda: TransformerBlock(**BLOCK | {"num_heads": 3}), ValueError, "do not divide"),
        (lambda: TransformerLM(**MODEL | {"d_ff": 0}), ValueError, "d_ff is 0"),
    ],
)
def test_what_makes_no_layer_is_refused_by_name(
    build: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(("kind", "sizes"), [(TransformerBlock, BLOCK), (TransformerLM, MODEL)])
def test_type_checkers_know_both_ways(kind: type[torch.nn.Module], sizes: dict[str, int]) -> None:
    """Read from the source: what checks shapes in tests wraps the overloads beyond recognition."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    overloads = [
        {one.arg: ast.unparse(one.annotation) for one in node.args.args[1:]}
        for node in body.body
        if isinstance(node, ast.FunctionDef) and "overload" in map(ast.unparse, node.decorator_list)
    ]
    kinds = {name: "float" if "theta" in name else "int" for name in sizes}
    assert [each.get("config") for each in overloads] == ["ModelConfig", None]
    assert overloads[1] == kinds
