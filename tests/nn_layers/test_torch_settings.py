"""Every public name of nn_layers under every global setting of torch."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_settings import EACH_SETTING, SETTINGS, Run, assert_same, changes_products, observe

import nn_layers
from nn_layers import (
    Embedding,
    KVCache,
    Linear,
    ModelConfig,
    MultiHeadSelfAttention,
    NativeDecoder,
    NativeError,
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
    rotary_attention,
    round_weights,
    scaled_dot_product_attention,
    silu,
    softmax,
    why_no_kernels,
    why_no_rotary_attention,
)
from nn_layers.backends.cpu.build import find_compiler
from nn_layers.backends.cpu.kernels import why_no_native_kernels

Row = Callable[[], tuple[Run, Sequence[Tensor]]]
"""Builds something; returns what runs it, and the leaves that it gives a gradient."""

CONFIG = ModelConfig(31, 12, 32, 2, 2, 24, num_kv_heads=1)
IDS = torch.randint(31, (2, 7), generator=torch.Generator().manual_seed(1))
CPU = torch.device("cpu")


def _random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).requires_grad_()


def _layer(make: Callable[[], nn.Module], *shape: int) -> Row:
    def row() -> tuple[Run, Sequence[Tensor]]:
        torch.manual_seed(0)
        layer, x = make(), _random(*shape)
        return lambda: layer(x), [x, *layer.parameters()]

    return row


def _function(function: Callable[..., object], *shapes: tuple[int, ...]) -> Row:
    def row() -> tuple[Run, Sequence[Tensor]]:
        leaves = [_random(*shape, seed=number) for number, shape in enumerate(shapes)]
        return lambda: function(*leaves), leaves

    return row


def _model(attention: str = "auto") -> TransformerLM:
    torch.manual_seed(0)
    settings = {"num_kv_heads": 1, "attention": attention}
    return TransformerLM(ModelConfig(31, 12, 32, 2, 2, 24, **settings))


def _language_model(attention: str) -> Row:
    def row() -> tuple[Run, Sequence[Tensor]]:
        model = _model(attention)
        return lambda: model(IDS), list(model.parameters())

    return row


def _embedding() -> tuple[Run, Sequence[Tensor]]:
    torch.manual_seed(0)
    layer = Embedding(31, 8)
    return lambda: layer(IDS), list(layer.parameters())


def _cached() -> tuple[Run, Sequence[Tensor]]:
    model = _model()

    def run() -> Tensor:
        cache = KVCache(model.config, batch_size=2)
        with torch.no_grad():
            return torch.cat([model(IDS[:, :4], cache=cache), model(IDS[:, 4:], cache=cache)], 1)

    return run, []


def _decoded() -> tuple[Run, Sequence[Tensor]]:
    model, cache = _model(), KVCache(CONFIG)
    decoder = NativeDecoder(model)
    with torch.no_grad():
        model(IDS[:1], cache=cache)
    return lambda: decoder.step([3], [cache]), []


def _rounded() -> tuple[Run, Sequence[Tensor]]:
    model = _model()
    return lambda: [one.detach() for one in round_weights(model, "int8").parameters()], []


def _attention(path: str) -> Row:
    rope = RotaryPositionalEmbedding(100.0, 16, 12)
    settings = {"num_kv_heads": 1, "rope": rope, "attention": path}
    return _layer(lambda: MultiHeadSelfAttention(32, 2, **settings), 2, 7, 32)


def _by_kernel(qkv: Tensor) -> Tensor:
    tables = RotaryPositionalEmbedding(100.0, 16, 12, device="cpu").float32_tables()
    return rotary_attention(qkv, num_heads=2, num_kv_heads=1, tables=tables)


# The name first, then which of its ways.
ROWS: dict[str, Row] = {
    "Embedding": _embedding,
    "KVCache": _cached,
    "Linear": _layer(lambda: Linear(8, 5), 3, 8),
    "ModelConfig": _function(lambda: repr(ModelConfig(31, 12, 32, 2, 2, 24))),
    **{
        f"MultiHeadSelfAttention {path}": _attention(path)
        for path in ("auto", "plain", "sdpa", "matmul", "native", "triton")
    },
    "NativeDecoder": _decoded,
    "NativeError": _function(lambda: repr(NativeError("no compiler"))),
    "RMSNorm": _layer(lambda: RMSNorm(8), 3, 8),
    "RotaryPositionalEmbedding": _function(
        lambda x: RotaryPositionalEmbedding(1e4, 8, 5, device="cpu")(x, IDS[0, :4] % 5), (4, 8)
    ),
    "SiLUFeedForward": _layer(lambda: SiLUFeedForward(8, 12), 3, 8),
    "SwiGLU": _layer(lambda: SwiGLU(8, 12), 3, 8),
    "TransformerBlock": _layer(lambda: TransformerBlock(CONFIG), 2, 7, 32),
    **{f"TransformerLM {path}": _language_model(path) for path in ("auto", "plain", "native")},
    "cross_entropy": _function(lambda x: cross_entropy(x, IDS), (2, 7, 31)),
    "fused_cross_entropy": _function(lambda x: fused_cross_entropy(x * 1, IDS), (2, 7, 31)),
    "head_loss": _function(lambda x, w: head_loss(x, w, IDS), (2, 7, 8), (31, 8)),
    **{
        f"linear_cross_entropy {path}": _function(
            lambda x, w, path=path: linear_cross_entropy(x, w, IDS, path=path, rows=5),
            *((2, 7, 8), (31, 8)),
        )
        for path in ("plain", "native")
    },
    "perplexity": _function(lambda x: perplexity(x, IDS), (2, 7, 31)),
    "rotary_attention": _function(_by_kernel, (2, 7, 64)),
    "round_weights": _rounded,
    "scaled_dot_product_attention": _function(
        lambda q, k, v: scaled_dot_product_attention(q, k, v, IDS[:1, :3, None] >= IDS[1, :5]),
        *((2, 3, 8), (2, 5, 8), (2, 5, 4)),
    ),
    "silu": _function(silu, (3, 8)),
    "softmax": _function(lambda x: softmax(x, dim=0), (3, 8)),
    "why_no_kernels": _function(lambda: why_no_kernels(CPU)),
    "why_no_rotary_attention": _function(
        lambda: why_no_rotary_attention(CPU, width=8, dtype=torch.float32)
    ),
}
# What does the same in torch's words, where a setting changes products.
TWINS: dict[str, Callable[..., Tensor]] = {
    "Linear": F.linear,
    "SiLUFeedForward": lambda x, w1, w2: F.linear(F.silu(F.linear(x, w1)), w2),
    "SwiGLU": lambda x, w1, w2, w3: F.linear(F.silu(F.linear(x, w1)) * F.linear(x, w3), w2),
    "scaled_dot_product_attention": lambda q, k, v: F.scaled_dot_product_attention(
        q, k, v, IDS[:1, :3, None] >= IDS[1, :5]
    ),
    **{
        f"linear_cross_entropy {path}": lambda x, w: F.cross_entropy(
            F.linear(x, w).flatten(0, 1).float(), IDS.flatten()
        )
        for path in ("plain", "native")
    },
}
# Where all that the setting may do is to round products: the rest keeps every bit.
WITH_PRODUCTS = ("MultiHead", "Transformer", "KVCache", *TWINS)


@pytest.fixture(autouse=True)
def _can_run(request: pytest.FixtureRequest) -> None:
    params = getattr(getattr(request.node, "callspec", None), "params", {})
    name = params.get("name", "")
    reason = None if find_compiler() else "there is no C++ compiler"
    if "native" in name or name == "rotary_attention":
        reason = why_no_native_kernels(torch.float32) or why_no_native_kernels(torch.bfloat16)
    if reason and ("native" in name or name in ("rotary_attention", "NativeDecoder")):
        pytest.skip(reason)


def test_every_public_name_has_a_row() -> None:
    assert {name.partition(" ")[0] for name in ROWS} == set(nn_layers.__all__)


@EACH_SETTING
@pytest.mark.parametrize("name", ROWS)
def test_what_was_built_before_a_setting_computes_the_same_under_it(name, setting) -> None:
    expected = observe(*ROWS[name](), setting=None)
    run, leaves = ROWS[name]()
    if not (changes_products(setting) and name.startswith(WITH_PRODUCTS)):
        assert_same(observe(run, leaves, setting=setting), expected)
        return
    found = observe(run, leaves, setting=setting)
    if name in TWINS:
        twin = observe(lambda: TWINS[name](*leaves), leaves, setting=setting)
        assert_same(found, twin, rounding=0.02)
    wide = [one.float() if isinstance(one, Tensor) else one for one in found]
    assert_same(wide, expected, rounding=0.03)


@EACH_SETTING
def test_a_setting_ends_with_its_context(setting) -> None:
    """Or the tests after it would compare something else."""
    expected = observe(*ROWS["TransformerLM auto"](), setting=None)
    with SETTINGS[setting]():
        pass
    assert_same(observe(*ROWS["TransformerLM auto"](), setting=None), expected)


BUILT: dict[str, Callable[[], nn.Module]] = {
    "Embedding": lambda: Embedding(31, 8),
    "Linear": lambda: Linear(8, 5),
    "MultiHeadSelfAttention": lambda: MultiHeadSelfAttention(32, 2, qk_norm=True),
    "RMSNorm": lambda: RMSNorm(8),
    "RotaryPositionalEmbedding": lambda: RotaryPositionalEmbedding(1e4, 8, 12),
    "SiLUFeedForward": lambda: SiLUFeedForward(8, 12),
    "SwiGLU": lambda: SwiGLU(8, 12),
    "TransformerBlock": lambda: TransformerBlock(CONFIG),
    "TransformerLM": lambda: TransformerLM(CONFIG),
}


def test_every_module_is_built_under_the_settings() -> None:
    public = {name: getattr(nn_layers, name) for name in nn_layers.__all__}
    is_module = {
        n for n, one in public.items() if isinstance(one, type) and issubclass(one, nn.Module)
    }
    assert set(BUILT) == is_module


@EACH_SETTING
@pytest.mark.parametrize("name", BUILT)
def test_what_is_built_under_a_setting_has_weights_as_torchs_have(name, setting) -> None:
    with SETTINGS[setting]():
        ours, torchs = BUILT[name](), nn.Linear(3, 3).weight
    for weight in ours.parameters():
        kind = (weight.dtype, weight.device, weight.requires_grad, weight.is_inference())
        assert kind == (torchs.dtype, torchs.device, True, torchs.is_inference())
    for table in ours.buffers():  # of cosines and sines, wide whatever the weights are
        assert (table.dtype, table.device) == (torch.float64, torchs.device)


@EACH_SETTING
def test_a_model_built_under_a_setting_runs_there_as_torchs_layers_do(setting) -> None:
    with SETTINGS[setting](), torch.no_grad():
        ids = torch.zeros(2, 5, dtype=torch.int64)
        ours, table, head = TransformerLM(CONFIG), nn.Embedding(31, 32), nn.Linear(32, 31)
        logits, expected = ours(ids), head(table(ids))
        loss = cross_entropy(logits, ids)
    assert (logits.dtype, logits.device) == (expected.dtype, expected.device)
    assert loss.device == expected.device
    if expected.device.type != "meta":
        assert loss.isfinite()


def test_a_model_built_without_memory_is_whole_once_it_has_weights() -> None:
    expected, state = _model()(IDS), _model().state_dict()
    with torch.device("meta"):
        model = TransformerLM(CONFIG)
    model.to_empty(device="cpu").load_state_dict(state)
    assert torch.equal(model(IDS), expected)


def test_what_ran_in_inference_mode_trains_afterwards() -> None:
    model, fresh = _model(), _model()
    with torch.inference_mode():
        model(IDS)
        NativeDecoder(model) if find_compiler() else None
    for one in (model, fresh):
        cross_entropy(one(IDS), IDS).backward()
    for ours, theirs in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_no_layer_disturbs_the_default_generator_but_by_drawing_weights() -> None:
    rows = [ROWS[name]() for name in ROWS if "native" not in name and name != "rotary_attention"]
    before = torch.get_rng_state()
    for run, leaves in rows:
        observe(run, leaves, setting=None)
    assert torch.equal(torch.get_rng_state(), before)
