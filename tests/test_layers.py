"""Each layer equals its torch counterpart: what it returns, and how it starts.

float64 to 1e-10, float32 to 1e-5 and bfloat16 to 2e-2, all relative to the largest value. Gradients
by every input and weight are in `nn_layers/test_gradients.py`, leading axes in `test_shapes.py`.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
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
    perplexity,
    scaled_dot_product_attention,
    silu,
    softmax,
)

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
SMALL = ModelConfig(31, 12, 16, 2, 4, 24)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _assert_equal(ours: Tensor, theirs: Tensor) -> None:
    assert ours.dtype == theirs.dtype
    scale = theirs.abs().max().item() or 1.0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE[theirs.dtype] * scale)


def _random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


@DTYPES
def test_linear(dtype: torch.dtype) -> None:
    layer, x = Linear(5, 3, dtype=dtype), _random(2, 4, 5, dtype=dtype)
    _assert_equal(layer(x), F.linear(x, layer.weight))
    assert set(layer.state_dict()) == {"weight"}
    if dtype == torch.float64:
        assert torch.autograd.gradcheck(layer, (x,))


def test_linear_starts_as_a_cut_normal() -> None:
    weight = Linear(300, 500).weight
    std = math.sqrt(2 / 800)
    assert weight.abs().max() <= 3 * std
    assert weight.std().item() == pytest.approx(0.9866 * std, rel=0.01)  # cut at 3 sigma
    assert abs(weight.mean().item()) < 0.01 * std


@DTYPES
def test_embedding(dtype: torch.dtype) -> None:
    layer, ids = Embedding(10, 4, dtype=dtype), torch.tensor([[1, 2], [1, 9]])
    assert torch.equal(layer(ids), F.embedding(ids, layer.weight))
    layer(ids).sum().backward()
    assert layer.weight.grad[1].tolist() == [2.0] * 4


def test_embedding_starts_as_a_cut_normal() -> None:
    weight = Embedding(300, 400).weight
    assert weight.abs().max() <= 3
    assert weight.std().item() == pytest.approx(0.9866, rel=0.01)  # cut at 3 sigma


@DTYPES
def test_rmsnorm(dtype: torch.dtype) -> None:
    layer, x = RMSNorm(6, dtype=dtype), _random(2, 3, 6, dtype=dtype)
    with torch.no_grad():
        layer.weight.normal_()
    _assert_equal(layer(x), F.rms_norm(x, (6,), layer.weight, 1e-5))
    if dtype == torch.float64:
        assert torch.autograd.gradcheck(layer, (x,))


def test_rmsnorm_of_half_precision_does_not_overflow() -> None:
    x = torch.full((4,), 6e4, dtype=torch.float16)  # its square is beyond float16
    torch.testing.assert_close(RMSNorm(4)(x), torch.ones(4, dtype=torch.float16))


@DTYPES
def test_silu_matches_pytorch(dtype: torch.dtype) -> None:
    x = _random(3, 5, dtype=dtype)
    _assert_equal(silu(x), F.silu(x))


@DTYPES
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_matches_pytorch(dtype: torch.dtype, dim: int) -> None:
    x = _random(3, 5, 4, dtype=dtype)
    _assert_equal(softmax(x, dim=dim), F.softmax(x, dim=dim))
    _assert_equal(softmax(x + 100, dim=dim), F.softmax(x + 100, dim=dim))


def test_softmax() -> None:
    x = _random(3, 5)
    assert torch.autograd.gradcheck(lambda x: softmax(x, dim=-1), (x,))
    huge = torch.tensor([1e300, -torch.inf, 1e300], dtype=torch.float64)
    assert softmax(huge, dim=0).tolist() == [0.5, 0.0, 0.5]
    assert softmax(torch.full((3,), -torch.inf), dim=0).tolist() == [0.0] * 3


@DTYPES
def test_swiglu(dtype: torch.dtype) -> None:
    layer, x = SwiGLU(6, 8, dtype=dtype), _random(2, 6, dtype=dtype)
    w1, w2, w3 = layer.w1.weight, layer.w2.weight, layer.w3.weight
    _assert_equal(layer(x), F.linear(F.silu(F.linear(x, w1)) * F.linear(x, w3), w2))
    assert set(layer.state_dict()) == {"w1.weight", "w2.weight", "w3.weight"}
    if dtype == torch.float64:
        assert torch.autograd.gradcheck(layer, (x,))


@DTYPES
def test_silu_feed_forward(dtype: torch.dtype) -> None:
    layer, x = SiLUFeedForward(6, 8, dtype=dtype), _random(2, 6, dtype=dtype)
    _assert_equal(layer(x), F.linear(F.silu(F.linear(x, layer.w1.weight)), layer.w2.weight))


def _complex_rotation(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Rotate adjacent pairs as complex numbers: another way to write the same thing."""
    width = x.shape[-1]
    frequency = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = positions.double()[..., None] * frequency
    turned = torch.view_as_complex(rearrange(x, "... (j r) -> ... j r", r=2).contiguous())
    turned = turned * torch.polar(torch.ones_like(angles), angles)
    return rearrange(torch.view_as_real(turned), "... j r -> ... (j r)")


@DTYPES
def test_rope(dtype: torch.dtype) -> None:
    rope = RotaryPositionalEmbedding(10000.0, 8, 32)
    x, positions = _random(2, 3, 5, 8, dtype=dtype), torch.tensor([0, 3, 7, 8, 31])
    _assert_equal(rope(x, positions), _complex_rotation(x.double(), positions, 10000.0).to(dtype))
    assert torch.equal(rope(x, positions)[..., 0, :], x[..., 0, :])  # position 0 stays
    assert rope.state_dict() == {}


def test_rope_layouts_differ_by_a_permutation() -> None:
    adjacent = RotaryPositionalEmbedding(100.0, 6, 16)
    half = RotaryPositionalEmbedding(100.0, 6, 16, layout="half")
    x, positions = _random(4, 6), torch.arange(4)
    reordered = rearrange(x, "t (j r) -> t (r j)", r=2)
    expected = rearrange(adjacent(x, positions), "t (j r) -> t (r j)", r=2)
    torch.testing.assert_close(half(reordered, positions), expected)


def test_rope_scores_depend_on_distance_alone() -> None:
    rope = RotaryPositionalEmbedding(10000.0, 8, 64)
    q, k = _random(1, 8), _random(1, 8)
    scores = [
        (rope(q, torch.tensor([p + 5])) * rope(k, torch.tensor([p]))).sum().item()
        for p in (0, 11, 40)
    ]
    assert scores == pytest.approx([scores[0]] * 3, rel=1e-5)


def test_rope_tables_stay_wide_in_a_narrow_model() -> None:
    rope = RotaryPositionalEmbedding(10000.0, 8, 64).to(torch.bfloat16)
    assert rope.cos.dtype == torch.float64
    with pytest.raises(ValueError, match="even"):
        RotaryPositionalEmbedding(10000.0, 7, 64)


@DTYPES
def test_scaled_dot_product_attention(dtype: torch.dtype) -> None:
    q, k, v = (_random(2, length, 8, dtype=dtype) for length in (5, 7, 7))
    mask = torch.rand(5, 7) > 0.4
    mask[:, 0] = True
    _assert_equal(
        scaled_dot_product_attention(q, k, v, mask),
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
    )
    if dtype == torch.float64:
        small = [_random(3, 2) for _ in range(3)]
        assert torch.autograd.gradcheck(scaled_dot_product_attention, small)


def test_4d_scaled_dot_product_attention() -> None:
    q, k, v = (_random(2, 3, 5, 8) for _ in range(3))
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    _assert_equal(
        scaled_dot_product_attention(q, k, v, mask),
        F.scaled_dot_product_attention(q, k, v, is_causal=True),
    )


def test_a_query_that_may_look_nowhere_gets_zeros_and_no_nan() -> None:
    q, k, v = (_random(2, 4) for _ in range(3))
    mask = torch.tensor([[True, True], [False, False]])
    out = scaled_dot_product_attention(q, k, v, mask)
    out.sum().backward()
    assert out[1].tolist() == [0.0] * 4
    assert all(tensor.grad.isfinite().all() for tensor in (q, k, v))


@DTYPES
@pytest.mark.parametrize("attention", ["plain", "sdpa"])
def test_multihead_self_attention(attention: str, dtype: torch.dtype) -> None:
    layer = MultiHeadSelfAttention(16, 4, attention=attention, dtype=dtype)
    x = _random(2, 6, 16, dtype=dtype)
    oracle = torch.nn.MultiheadAttention(16, 4, bias=False, batch_first=True, dtype=dtype)
    with torch.no_grad():
        stacked = [layer.q_proj.weight, layer.k_proj.weight, layer.v_proj.weight]
        oracle.in_proj_weight.copy_(torch.cat(stacked))
        oracle.out_proj.weight.copy_(layer.output_proj.weight)
    future = torch.ones(6, 6, dtype=torch.bool).triu(1)
    expected, _ = oracle(x, x, x, attn_mask=future, need_weights=False)
    _assert_equal(layer(x), expected)


def test_multihead_self_attention_with_rope() -> None:
    rope = RotaryPositionalEmbedding(10000.0, 4, 32)
    layer = MultiHeadSelfAttention(16, 4, rope=rope, dtype=torch.float64)
    x, positions = _random(2, 6, 16), torch.tensor([[0, 1, 2, 5, 6, 9]])
    q, k, v = (
        rearrange(F.linear(x, part.weight), "b t (h k) -> b h t k", h=4)
        for part in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    q, k = (_complex_rotation(part, positions[:, None], 10000.0) for part in (q, k))
    heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    expected = F.linear(rearrange(heads, "b h t k -> b t (h k)"), layer.output_proj.weight)
    torch.testing.assert_close(layer(x, positions), expected, rtol=0, atol=1e-12)
    default = layer(x)
    torch.testing.assert_close(default, layer(x, torch.arange(6)))


def test_grouped_queries_equal_repeated_heads() -> None:
    grouped = MultiHeadSelfAttention(16, 4, num_kv_heads=2, dtype=torch.float64)
    full = MultiHeadSelfAttention(16, 4, dtype=torch.float64)
    state = grouped.state_dict()
    for name in ("k_proj.weight", "v_proj.weight"):
        heads = rearrange(state[name], "(h k) d -> h k d", h=2)
        state[name] = rearrange(heads.repeat_interleave(2, 0), "h k d -> (h k) d")
    full.load_state_dict(state)
    x = _random(3, 5, 16)
    _assert_equal(grouped(x), full(x))


@DTYPES
@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_transformer_block(norm: str, dtype: torch.dtype) -> None:
    config = ModelConfig(31, 12, 16, 2, 4, 24, norm=norm)
    block, x = TransformerBlock(config, dtype=dtype), _random(2, 5, 16, dtype=dtype)
    if norm == "pre":
        middle = x + block.attn(F.rms_norm(x, (16,), eps=1e-5))
        expected = middle + block.ffn(F.rms_norm(middle, (16,), eps=1e-5))
    elif norm == "post":
        middle = F.rms_norm(x + block.attn(x), (16,), eps=1e-5)
        expected = F.rms_norm(middle + block.ffn(middle), (16,), eps=1e-5)
    else:
        middle = x + block.attn(x)
        expected = middle + block.ffn(middle)
    _assert_equal(block(x), expected)


@DTYPES
def test_transformer_lm(dtype: torch.dtype) -> None:
    model, ids = TransformerLM(SMALL, dtype=dtype), torch.randint(31, (2, 12))
    x = F.embedding(ids, model.token_embeddings.weight)
    for block in model.layers:
        x = block(x)
    expected = F.linear(F.rms_norm(x, (16,), eps=1e-5), model.lm_head.weight)
    _assert_equal(model(ids), expected)
    names = set(model.state_dict())
    assert "layers.1.attn.output_proj.weight" in names
    assert {"token_embeddings.weight", "ln_final.weight", "lm_head.weight"} <= names
    assert len(names) == 3 + 2 * 9


def test_transformer_lm_truncated_input() -> None:
    model, ids = TransformerLM(SMALL, dtype=torch.float64), torch.randint(31, (2, 12))
    _assert_equal(model(ids[:, :5]), model(ids)[:, :5])
    _assert_equal(model(ids[0]), model(ids)[0])  # no batch axis
    assert model(ids[None]).shape == (1, 2, 12, 31)
    with pytest.raises(ValueError, match="13 positions, but the context holds 12"):
        model(torch.zeros(1, 13, dtype=torch.int64))


@pytest.mark.parametrize("is_tied", [False, True])
def test_the_first_loss_is_that_of_a_guess(is_tied: bool) -> None:
    config = ModelConfig(2000, 32, 64, 3, 4, 128, tie_embeddings=is_tied)
    ids = torch.randint(2000, (8, 33))
    loss = cross_entropy(TransformerLM(config)(ids[:, :-1]), ids[:, 1:])
    assert loss.item() == pytest.approx(math.log(2000), rel=0.1)


def test_a_tied_matrix_is_stored_once_and_tied_after_loading() -> None:
    config = ModelConfig(31, 12, 16, 1, 4, 24, tie_embeddings=True)
    model, copy = TransformerLM(config), TransformerLM(config)
    assert "lm_head.weight" not in model.state_dict()
    copy.load_state_dict(model.state_dict())
    ids = torch.randint(31, (1, 12))
    assert torch.equal(copy(ids), model(ids))
    untied = ModelConfig(31, 12, 16, 1, 4, 24)
    difference = TransformerLM(untied).num_parameters - model.num_parameters
    assert difference == 31 * 16


@DTYPES
def test_cross_entropy(dtype: torch.dtype) -> None:
    logits, targets = _random(2, 3, 11, dtype=dtype), torch.randint(11, (2, 3))
    expected = F.cross_entropy(
        logits.flatten(0, 1).to(torch.promote_types(dtype, torch.float32)), targets.flatten()
    )
    torch.testing.assert_close(cross_entropy(logits, targets), expected)
    if dtype == torch.float64:
        assert torch.autograd.gradcheck(lambda x: cross_entropy(x, targets), (logits,))
    huge = 1000 * logits.detach()
    wide = huge.flatten(0, 1).to(torch.promote_types(dtype, torch.float32))
    torch.testing.assert_close(
        cross_entropy(huge, targets), F.cross_entropy(wide, targets.flatten())
    )
    torch.testing.assert_close(perplexity(logits, targets), expected.exp())


def test_cross_entropy_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no targets"):
        cross_entropy(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))


VARIANTS = [
    {},
    {"position": "none"},
    {"rope_layout": "half"},
    {"norm": "post"},
    {"norm": "none"},
    {"feed_forward": "silu"},
    {"qk_norm": True},
    {"tie_embeddings": True},
    {"num_kv_heads": 2},
    {"num_kv_heads": 1, "qk_norm": True, "rope_layout": "half", "tie_embeddings": True},
]


@pytest.mark.parametrize("switches", VARIANTS, ids=str)
def test_every_ablation_trains_every_parameter(switches: dict[str, object]) -> None:
    model = TransformerLM(ModelConfig(31, 12, 16, 2, 4, 24, **switches))
    ids = torch.randint(31, (2, 13))
    cross_entropy(model(ids[:, :-1]), ids[:, 1:]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    has_norms = any("ln" in name for name in model.state_dict())
    assert has_norms == (switches.get("norm") != "none")
    assert ("ln_final.weight" in model.state_dict()) == ("norm" not in switches)


@pytest.mark.parametrize("switches", VARIANTS, ids=str)
def test_plain_and_torchs_attention_agree(switches: dict[str, object]) -> None:
    ids = torch.randint(31, (2, 12))
    models = [
        TransformerLM(
            ModelConfig(31, 12, 16, 2, 4, 24, **switches, attention=kind), dtype=torch.float64
        )
        for kind in ("plain", "sdpa")
    ]
    models[1].load_state_dict(models[0].state_dict())
    _assert_equal(models[0](ids), models[1](ids))


@pytest.mark.parametrize("attention", ["plain", "sdpa"])
@pytest.mark.parametrize("switches", VARIANTS, ids=str)
def test_decoding_with_a_cache_equals_the_whole_pass(
    switches: dict[str, object], attention: str
) -> None:
    config = ModelConfig(31, 12, 16, 2, 4, 24, **switches, attention=attention)
    model, ids = TransformerLM(config, dtype=torch.float64), torch.randint(31, (2, 12))
    cache = KVCache(config, batch_size=2)
    parts = [model(ids[:, a:b], cache=cache) for a, b in ((0, 5), (5, 6), (6, 9), (9, 12))]
    _assert_equal(torch.cat(parts, dim=1), model(ids))


def test_autocast_trains() -> None:
    model, ids = TransformerLM(SMALL), torch.randint(31, (2, 13))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(one.grad.dtype == torch.float32 for one in model.parameters())
