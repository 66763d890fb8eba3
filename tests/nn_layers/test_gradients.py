"""Gradients of every layer, by its inputs and its weights, against finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.func import functional_call

from nn_layers import (
    Embedding,
    Linear,
    ModelConfig,
    MultiHeadSelfAttention,
    RMSNorm,
    RotaryPositionalEmbedding,
    SiLUFeedForward,
    SwiGLU,
    TransformerBlock,
    TransformerLM,
    cross_entropy,
    scaled_dot_product_attention,
    silu,
    softmax,
)

CONFIG = {"vocab_size": 5, "context_length": 3, "d_model": 4, "num_layers": 1, "d_ff": 3}
SWITCHES = [
    {},
    {"norm": "post", "feed_forward": "silu"},
    {"norm": "none", "position": "none"},
    {"num_kv_heads": 1, "qk_norm": True, "rope_layout": "half", "tie_embeddings": True},
]
MASK = torch.tensor([[True, False], [True, True], [False, False]])


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def _check(layer: nn.Module, *inputs: torch.Tensor) -> None:
    """Compare the gradients of a layer in float64 by everything that has one."""
    layer = layer.double()
    names, weights = zip(*layer.named_parameters(), strict=True)
    for weight in weights:
        nn.init.normal_(weight)

    def run(*values: torch.Tensor) -> torch.Tensor:
        own = dict(zip(names, values[len(inputs) :], strict=True))
        return functional_call(layer, own, values[: len(inputs)])

    assert torch.autograd.gradcheck(run, (*inputs, *weights))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "layer",
    [Linear(4, 3), RMSNorm(4), SwiGLU(4, 3), SiLUFeedForward(4, 3)],
    ids=lambda layer: type(layer).__name__,
)
def test_gradients_of_a_layer(layer: nn.Module) -> None:
    _check(layer, _random(2, 3, 4))


def test_gradients_of_an_embedding() -> None:
    _check(Embedding(5, 3), torch.tensor([[0, 4], [4, 2]]))


@pytest.mark.parametrize("layout", ["adjacent", "half"])
def test_gradients_of_the_rotation(layout: str) -> None:
    rope = RotaryPositionalEmbedding(100.0, 4, 8, layout=layout)
    positions = torch.tensor([0, 3, 7])
    assert torch.autograd.gradcheck(lambda x: rope(x, positions), (_random(2, 3, 4),))


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (silu, [(2, 3)]),
        (lambda x: softmax(x, dim=0), [(2, 3)]),
        (scaled_dot_product_attention, [(3, 4), (2, 4), (2, 5)]),
        (lambda q, k, v: scaled_dot_product_attention(q, k, v, MASK), [(3, 4), (2, 4), (2, 5)]),
        (lambda x: cross_entropy(x, torch.tensor([[0, 4, 1], [2, 2, 3]])), [(2, 3, 5)]),
    ],
    ids=["silu", "softmax", "attention", "masked attention", "cross_entropy"],
)
def test_gradients_of_a_function(
    function: Callable[..., torch.Tensor], shapes: list[tuple[int, ...]]
) -> None:
    assert torch.autograd.gradcheck(function, [_random(*shape) for shape in shapes])


@pytest.mark.parametrize("attention", ["plain", "sdpa"])
@pytest.mark.parametrize("num_kv_heads", [2, 1])
def test_gradients_of_multi_head_attention(attention: str, num_kv_heads: int) -> None:
    rope = RotaryPositionalEmbedding(100.0, 2, 8)
    settings = {"num_kv_heads": num_kv_heads, "rope": rope, "attention": attention}
    _check(MultiHeadSelfAttention(4, 2, **settings), _random(2, 3, 4))


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_gradients_of_a_block(switches: dict[str, object]) -> None:
    _check(TransformerBlock(ModelConfig(**CONFIG, num_heads=2, **switches)), _random(2, 3, 4))


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_gradients_of_the_model(switches: dict[str, object]) -> None:
    model = TransformerLM(ModelConfig(**CONFIG, num_heads=2, **switches))
    _check(model, torch.tensor([[0, 4, 1], [2, 2, 3]]))
