"""Any leading axes go in; what does not fit is refused in words."""

import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nn_layers import (
    Embedding,
    KVCache,
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
    fused_cross_entropy,
    head_loss,
    linear_cross_entropy,
    perplexity,
    scaled_dot_product_attention,
)

CONFIG = ModelConfig(31, 12, 8, 2, 4, 24, num_kv_heads=2)
ROPE = RotaryPositionalEmbedding(100.0, 2, 12)


def _attention(kind: str) -> MultiHeadSelfAttention:
    return MultiHeadSelfAttention(8, 4, num_kv_heads=2, rope=ROPE, attention=kind)


LAYERS = {
    "linear": Linear(8, 3),
    "rms_norm": RMSNorm(8),
    "swiglu": SwiGLU(8, 5),
    "silu": SiLUFeedForward(8, 5),
    "rope": lambda x: RotaryPositionalEmbedding(100.0, 8, 12)(x, torch.arange(5)),
    "sdpa": lambda x: scaled_dot_product_attention(x, x, x, torch.ones(5, 5).tril() > 0),
    "plain": _attention("plain"),
    "torchs": _attention("sdpa"),
    "block": TransformerBlock(CONFIG),
}


@pytest.mark.parametrize("leading", [(), (1,), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_leading_axes_are_independent(
    layer: Callable[[Tensor], Tensor], leading: tuple[int, ...]
) -> None:
    x = torch.randn(*leading, 5, 8, generator=torch.Generator().manual_seed(0))
    whole = layer(x)
    assert whole.shape[:-1] == x.shape[:-1]
    one_by_one = torch.stack([layer(one) for one in x.reshape(-1, 5, 8)])
    torch.testing.assert_close(whole.reshape(one_by_one.shape), one_by_one)


@pytest.mark.parametrize("leading", [(), (1,), (2, 3, 4)], ids=str)
def test_leading_axes_of_ids_are_independent(leading: tuple[int, ...]) -> None:
    model, embedding = TransformerLM(CONFIG), Embedding(31, 3)
    ids = torch.randint(31, (*leading, 5), generator=torch.Generator().manual_seed(0))
    rows = ids.reshape(-1, 5)
    logits = torch.stack([model(row) for row in rows])
    torch.testing.assert_close(model(ids).reshape(logits.shape), logits)
    assert torch.equal(embedding(ids).reshape(-1, 5, 3), embedding(rows))
    mean = torch.stack([cross_entropy(one, row) for one, row in zip(logits, rows, strict=True)])
    torch.testing.assert_close(cross_entropy(model(ids), ids), mean.mean())


@pytest.mark.parametrize("num_tokens", [1, 3])
def test_a_vector_alone_passes_every_small_layer(num_tokens: int) -> None:
    x = torch.ones(8)
    for name in ("linear", "rms_norm", "swiglu", "silu"):
        torch.testing.assert_close(LAYERS[name](x), LAYERS[name](x.expand(num_tokens, 8))[0])
    assert cross_entropy(torch.zeros(8), torch.tensor(3)).ndim == 0


@pytest.mark.parametrize("token_id", [-1, 31])
def test_an_id_outside_the_vocabulary_is_refused(token_id: int) -> None:
    for layer in (Embedding(31, 4), TransformerLM(CONFIG)):
        with pytest.raises(IndexError, match=str(token_id)):
            layer(torch.tensor([3, token_id]))


@pytest.mark.parametrize("token_id", [-1, 7])
def test_a_target_outside_the_vocabulary_is_refused(token_id: int) -> None:
    with pytest.raises(RuntimeError, match=f"index {token_id} is out of bounds"):
        cross_entropy(torch.zeros(2, 7), torch.tensor([3, token_id]))


LOSSES = {
    "plain": cross_entropy,
    "perplexity": perplexity,
    "fused": fused_cross_entropy,
    "chunked": lambda x, targets: linear_cross_entropy(x, torch.zeros(200, 8), targets),
    "compiled": lambda x, targets: linear_cross_entropy(
        x, torch.zeros(200, 8), targets, path="compiled"
    ),
    "native": lambda x, targets: linear_cross_entropy(
        x, torch.zeros(200, 8), targets, path="native"
    ),
    "head": lambda x, targets: head_loss(x, torch.zeros(200, 8), targets),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_targets_that_torch_would_ignore_are_refused_by_name(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    named = "2 of 3 targets are -100, torch's ignore_index, which is not supported; leave those"
    with pytest.raises(ValueError, match=named):
        loss(torch.zeros(3, 8), torch.tensor([3, -100, -100]))


def test_a_head_of_another_type_than_the_hidden_states_is_refused() -> None:
    hidden, weight = torch.zeros(3, 8, dtype=torch.float64), torch.zeros(5, 8)
    with pytest.raises(ValueError, match=r"are torch.float64 and the head is torch.float32"):
        linear_cross_entropy(hidden, weight, torch.arange(3))


def test_autocast_leaves_the_head_in_float64() -> None:
    hidden, weight = torch.ones(3, 8).double(), torch.arange(40.0).view(5, 8).cos().double()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_cross_entropy(hidden, weight, torch.arange(3))
    expected = cross_entropy(hidden @ weight.T, torch.arange(3))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("positions", [[-1, 0], [0, 12], [-(2**40), 3]], ids=str)
@pytest.mark.parametrize("rotate", ["forward", "rotate_halves"])
def test_positions_without_an_angle_are_refused(positions: list[int], rotate: str) -> None:
    named = rf"positions go from {min(positions)} to {max(positions)}, but must be in 0 \.\. 11"
    with pytest.raises(IndexError, match=named):
        getattr(ROPE, rotate)(torch.zeros(3, 2, 2), torch.tensor(positions))
    layer = MultiHeadSelfAttention(8, 4, rope=ROPE)
    with pytest.raises(IndexError, match=named):
        layer(torch.zeros(3, 2, 8), torch.tensor(positions))


@pytest.mark.parametrize("shape", [(1,), (4,), (8, 1), (1, 8), ()], ids=str)
def test_targets_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"do not fit logits of shape \(8, 10\)"):
        cross_entropy(torch.zeros(8, 10), torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("width", [2, 8])
def test_a_rotation_of_another_width_is_refused(width: int) -> None:
    rope = RotaryPositionalEmbedding(100.0, width, 12)
    with pytest.raises(ValueError, match=f"x is 4 wide, but the tables are for d_k={width}"):
        MultiHeadSelfAttention(16, 4, rope=rope)(torch.zeros(3, 16))


@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads"), [(3, None), (4, 3), (4, 0), (4, -2), (0, None), (-4, None)]
)
def test_heads_that_do_not_divide_are_refused(num_heads: int, num_kv_heads: int | None) -> None:
    with pytest.raises(ValueError, match=r"do(es)? not divide"):
        MultiHeadSelfAttention(16, num_heads, num_kv_heads=num_kv_heads)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_cache_for_other_sequences_is_refused(batch_size: int) -> None:
    ids = torch.zeros(batch_size, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=f"{batch_size} sequences, but .* batch_size=4"):
        TransformerLM(CONFIG)(ids, cache=KVCache(CONFIG, batch_size=4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, "do not divide"),
        ({"num_kv_heads": 3}, "num_kv_heads"),
        ({"num_kv_heads": 0}, "num_kv_heads"),
        ({"d_ff": 0}, "d_ff is 0"),
        ({"d_model": 12}, "even"),
        ({"rope_theta": -1.0}, "rope_theta"),
        ({"rope_theta": float("inf")}, "rope_theta"),
    ],
)
def test_impossible_models_are_refused(change: dict[str, object], message: str) -> None:
    sizes = dict(vocab_size=31, context_length=12, d_model=16, num_layers=1, num_heads=4, d_ff=8)
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**sizes, **change})


def test_settings_of_another_type_are_refused_without_the_checks_of_the_tests() -> None:
    code = """
        from nn_layers import ModelConfig
        for change in ({"num_kv_heads": 2.0}, {"norm": "batch"}, {"qk_norm": "no"}):
            try:
                ModelConfig(31, 12, 16, 1, 4, 8, **change)
            except ValueError as error:
                print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "num_kv_heads=2.0 does not divide num_heads=4; choose a divisor",
        "norm is 'batch', but must be one of 'pre', 'post', 'none'",
        "qk_norm is 'no', but must be True or False",
    ]
