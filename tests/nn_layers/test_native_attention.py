"""Attention by compiled C++: what it computes, and how it reports that it cannot run."""

import ctypes
import shutil
from collections.abc import Iterator

import pytest
import torch
from attention_twin import compare_attention, plain_attention
from hypothesis import given, settings
from hypothesis import strategies as st

from nn_layers import (
    KVCache,
    ModelConfig,
    NativeError,
    TransformerLM,
    cross_entropy,
    rotary_attention,
)
from nn_layers.backends.cpu import build, kernels
from nn_layers.backends.cpu.build import cpu_flags
from nn_layers.backends.cpu.kernels import why_no_native_kernels

REASONS = {dtype: why_no_native_kernels(dtype) for dtype in (torch.float32, torch.bfloat16)}
EACH_TYPE = pytest.mark.parametrize("dtype", REASONS, ids=str)


@pytest.fixture(autouse=True)
def _needs_the_cpu(request: pytest.FixtureRequest) -> None:
    dtype = getattr(request.node, "callspec", None) and request.node.callspec.params.get("dtype")
    reason = REASONS[dtype or torch.float32]
    if reason is not None and "without" not in request.node.name:
        pytest.skip(reason)


@pytest.fixture
def _fresh_library() -> Iterator[None]:
    kernels.load_kernel.cache_clear()
    yield
    kernels.load_kernel.cache_clear()


@EACH_TYPE
@pytest.mark.parametrize("layout", ["adjacent", "half", None])
@pytest.mark.parametrize("width", [16, 32, 64, 128])
def test_it_is_the_plain_formula_and_so_are_its_gradients(width, layout, dtype) -> None:
    compare_attention(length=39, width=width, layout=layout, dtype=dtype)


@EACH_TYPE
@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 63, 64, 65, 96, 97, 128, 256, 300])
def test_rows_and_keys_are_padded_without_a_trace(length, dtype) -> None:
    compare_attention(length=length, width=32, layout="adjacent", dtype=dtype)


@EACH_TYPE
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_it_is_the_plain_formula_for_any_shape(dtype, data) -> None:
    groups = data.draw(st.integers(1, 3))
    compare_attention(
        batch=data.draw(st.integers(1, 3)),
        length=data.draw(st.integers(1, 200)),
        num_heads=groups * data.draw(st.integers(1, 3)),
        num_kv_heads=groups,
        width=data.draw(st.sampled_from([16, 32, 64])),
        layout=data.draw(st.sampled_from(["adjacent", "half", None])),
        dtype=dtype,
        seed=data.draw(st.integers(0, 99)),
    )


@pytest.mark.usefixtures("_fresh_library")
@pytest.mark.parametrize("dtype", [torch.bfloat16], ids=str)
@pytest.mark.parametrize("length", [39, 130])
def test_a_cpu_without_tiles_computes_the_same(length, dtype, monkeypatch, tmp_path) -> None:
    flags = (*build._FLAGS, "-mno-amx-tile", "-mno-amx-bf16")
    monkeypatch.setattr(build, "_FLAGS", flags)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compare_attention(length=length, num_heads=2, width=32, layout="half", dtype=dtype)
    assert len(list((tmp_path / "nn-layers").glob("attention-step-*.so"))) == 1


@EACH_TYPE
def test_the_number_of_threads_changes_no_bit(dtype) -> None:
    before, found = torch.get_num_threads(), []
    values = torch.randn(3, 70, 4 * 32).to(dtype)
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            qkv = values.clone().requires_grad_()
            out = rotary_attention(qkv, num_heads=2, num_kv_heads=1, tables=None)
            out.float().square().sum().backward()
            found.append((out, qkv.grad))
    finally:
        torch.set_num_threads(before)
    for out, grad in found[1:]:
        assert torch.equal(out, found[0][0])
        assert torch.equal(grad, found[0][1])


TILES = """
#include <immintrin.h>
extern "C" void set_tiles(const void* config) { _tile_loadconfig(config); }
extern "C" void get_tiles(void* config) { _tile_storeconfig(config); }
"""


@pytest.mark.skipif("amx_bf16" not in cpu_flags(), reason="this CPU has no tiles")
@pytest.mark.parametrize("dtype", [torch.bfloat16], ids=str)
def test_whoever_had_set_up_tiles_finds_them_so_again(dtype, monkeypatch, tmp_path) -> None:
    qkv, before = torch.randn(2, 40, 48).to(dtype), torch.get_num_threads()
    rotary_attention(qkv, num_heads=1, num_kv_heads=1, tables=None)  # is lent the tiles
    source = tmp_path / "tiles.cpp"
    source.write_text(TILES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library, found = build.build(source), (ctypes.c_uint8 * 64)()
    mine = (ctypes.c_uint8 * 64)(1)  # the palette
    mine[16], mine[48] = 8, 3  # bytes per row, and rows, of the first tile
    torch.set_num_threads(1)  # tiles belong to a thread
    try:
        library.set_tiles(mine)
        rotary_attention(qkv, num_heads=1, num_kv_heads=1, tables=None)
        library.get_tiles(found)
    finally:
        torch.set_num_threads(before)
        library.set_tiles((ctypes.c_uint8 * 64)())
    assert bytes(found) == bytes(mine)


@EACH_TYPE
def test_scores_of_any_size_do_not_overflow(dtype) -> None:
    qkv = torch.full((1, 40, 48), 1e4, dtype=dtype, requires_grad=True)
    rotary_attention(qkv, num_heads=1, num_kv_heads=1, tables=None).sum().backward()
    assert torch.isfinite(qkv.grad).all()


@EACH_TYPE
@pytest.mark.parametrize(("column", "reached"), [(0, [20]), (16, range(20, 40))])
def test_a_query_or_key_that_is_no_number_is_seen_where_it_is_read(column, reached, dtype) -> None:
    qkv = torch.randn(1, 40, 48).to(dtype)
    qkv[0, 20, column] = torch.nan
    found = rotary_attention(qkv, num_heads=1, num_kv_heads=1, tables=None)[0].isnan()
    assert found.all(1).nonzero().flatten().tolist() == list(reached)
    assert found.any(1).sum() == len(reached)


def test_tables_in_float64_are_the_same_tables() -> None:
    qkv, tables = torch.randn(1, 6, 48), (torch.rand(6, 8), torch.rand(6, 8))
    found = [
        rotary_attention(qkv, num_heads=1, num_kv_heads=1, tables=each)
        for each in (tables, tuple(table.double() for table in tables))
    ]
    assert torch.equal(*found)


def test_strided_projections_are_read_as_they_lie() -> None:
    qkv = torch.randn(2, 20, 100)[..., 4:52]
    ours = rotary_attention(qkv, num_heads=1, num_kv_heads=1, tables=None)
    torch.testing.assert_close(ours, plain_attention(qkv, 1, 1, None), rtol=3e-6, atol=3e-6)


def test_no_windows_give_no_heads() -> None:
    qkv = torch.randn(0, 5, 48, requires_grad=True)
    out = rotary_attention(qkv, num_heads=1, num_kv_heads=1, tables=None)
    out.sum().backward()
    assert out.shape == (0, 5, 16)
    assert qkv.grad.shape == qkv.shape


def test_the_operation_keeps_what_it_tells_torch() -> None:
    qkv, table = torch.randn(1, 6, 48, requires_grad=True), torch.rand(6, 8)
    # Not with unknown sizes, through which the shape checks of the tests cannot be traced.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    operation = torch.ops.nn_layers.rotary_attention
    torch.library.opcheck(operation, (qkv, table, table, 1, 1, 2), test_utils=checks)


@pytest.mark.parametrize("switches", [{}, {"qk_norm": True}, {"position": "none"}], ids=str)
def test_a_model_has_the_same_gradients_by_it(switches) -> None:
    config = ModelConfig(31, 12, 32, 2, 2, 24, num_kv_heads=1, attention="native", **switches)
    model = TransformerLM(config)
    ids = torch.randint(31, (2, 13), generator=torch.Generator().manual_seed(0))
    results = []
    for attention in ("native", "plain"):
        for layer in model.layers:
            layer.attn.attention = attention
        model.zero_grad()
        cross_entropy(model(ids[:, :-1]), ids[:, 1:]).backward()
        results.append([parameter.grad.clone() for parameter in model.parameters()])
    for native, plain in zip(*results, strict=True):
        torch.testing.assert_close(native, plain, rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_a_cache_takes_another_path_to_the_same_logits() -> None:
    config = ModelConfig(31, 12, 32, 1, 2, 24, attention="native")
    model, ids = TransformerLM(config).eval(), torch.tensor([[3, 1, 4, 1, 5, 9]])
    cache = KVCache(config)
    parts = [model(ids[:, :4], cache=cache), model(ids[:, 4:], cache=cache)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), rtol=1e-5, atol=1e-5)


def test_on_a_cpu_without_avx512_it_says_what_is_missing(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    assert "need a CPU with avx512bw, avx512dq, avx512vl" in why_no_native_kernels(torch.float32)
    assert "avx512_bf16" in why_no_native_kernels(torch.bfloat16)


@pytest.mark.usefixtures("_fresh_library")
def test_without_a_compiler_it_says_so(monkeypatch) -> None:
    flags = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
    monkeypatch.setattr(kernels, "cpu_flags", lambda: flags)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(NativeError, match=r"need a C\+\+ compiler .* and there is none"):
        rotary_attention(torch.randn(1, 5, 48), num_heads=1, num_kv_heads=1, tables=None)


@pytest.mark.usefixtures("_fresh_library")
def test_a_system_that_lends_no_tiles_is_told_of(monkeypatch) -> None:
    class Library:
        def knows(self, size: ctypes.c_int64) -> int:
            return 0

    monkeypatch.setattr(kernels, "build", lambda source: Library())
    with pytest.raises(NativeError, match="does not lend this process"):
        kernels.load_kernel("attention_step", torch.float32)
