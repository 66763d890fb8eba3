"""No array reaches C++ that it would read or write wrongly, or beyond its end."""

import dataclasses
import inspect

import pytest
import torch
from torch import Tensor

from nn_layers import (
    KVCache,
    ModelConfig,
    NativeDecoder,
    TransformerLM,
    head_loss,
    rotary_attention,
)
from nn_layers.backends.attention.matmul import causal_attention_by_products
from nn_layers.backends.cpu.arrays import pointer_to
from nn_layers.backends.cpu.build import find_compiler
from nn_layers.backends.cpu.kernels import why_no_native_kernels

CONFIG = ModelConfig(31, 6, 32, 2, 2, 24, num_kv_heads=1)


@pytest.fixture(autouse=True)
def _needs_the_cpu(request: pytest.FixtureRequest) -> None:
    reason = why_no_native_kernels(torch.float32)
    if reason and "attention" in request.node.name:
        pytest.skip(reason)
    if "decoder" in request.node.name and find_compiler() is None:
        pytest.skip("there is no C++ compiler")


@pytest.mark.parametrize(
    ("array", "needed"),
    [
        (torch.zeros(2, 3, dtype=torch.bfloat16), "torch.float32 keys are needed"),
        (torch.zeros(2, 4), r"keys of shape \(2, 3\) are needed"),
        (torch.zeros(3, 2).T, "contiguous keys on the CPU are needed"),
        (torch.zeros(2, 3, device="meta"), "contiguous keys on the CPU are needed"),
        (torch.zeros(2, 3).to_sparse(), "contiguous keys on the CPU are needed"),
        (torch._neg_view(torch.zeros(2, 3)), "contiguous keys on the CPU are needed"),
    ],
    ids=["type", "shape", "strides", "device", "sparse", "lazily negated"],
)
def test_an_array_of_another_kind_has_no_address(array: Tensor, needed: str) -> None:
    with pytest.raises(ValueError, match=needed):
        pointer_to(array, "keys", dtype=torch.float32, shape=(2, 3))


def test_an_array_of_the_kind_has_its_address() -> None:
    array = torch.zeros(2, 3)[1:]
    found = pointer_to(array, "keys", dtype=torch.float32, shape=(1, 3))
    assert found.value == array.data_ptr()


def _model(config: ModelConfig = CONFIG) -> TransformerLM:
    torch.manual_seed(0)
    return TransformerLM(config).eval()


@torch.inference_mode()
def _filled(model: TransformerLM) -> KVCache:
    cache = KVCache(model.config)
    model(torch.tensor([[1, 2]]), cache=cache)
    return cache


@pytest.mark.parametrize("change", [{"context_length": 5}, {"num_kv_heads": 2}], ids=str)
def test_the_decoder_refuses_a_cache_of_another_model(change: dict[str, int]) -> None:
    other = _filled(_model(dataclasses.replace(CONFIG, **change)))
    with pytest.raises(ValueError, match=r"keys of shape \(1, 1, 6, 16\) are needed"):
        NativeDecoder(_model()).step([3], [other])
    assert other.length == 2


def test_the_decoder_refuses_a_cache_of_another_type() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = _filled(_model())
    with pytest.raises(ValueError, match=r"keys are torch.bfloat16.*torch.float32 keys are needed"):
        NativeDecoder(_model()).step([3], [narrow])


def test_the_decoder_refuses_one_cache_for_two_tokens() -> None:
    cache = _filled(_model())
    with pytest.raises(ValueError, match="give each sequence its own"):
        NativeDecoder(_model()).step([3, 4], [cache, cache])


def test_the_decoder_refuses_tables_that_are_too_short() -> None:
    model = _model()
    rope = model.positions
    rope.cos, rope.sin = rope.cos[:3], rope.sin[:3]
    with pytest.raises(ValueError, match=r"rope .* but rope of shape \(6, 8\) are needed"):
        NativeDecoder(model)


def test_attention_refuses_tables_of_which_one_is_short_or_trained() -> None:
    qkv, table = torch.zeros(1, 6, 48), torch.rand(6, 8)
    how = {"num_heads": 1, "num_kv_heads": 1}
    attend = inspect.unwrap(rotary_attention)  # without the checks of the tests
    for tables in ((table, table[:5]), (table[:5], table), (table, table[:, :4])):
        with pytest.raises(ValueError, match="do not fit 6 positions"):
            attend(qkv, tables=tables, **how)
    with pytest.raises(ValueError, match="rotary tables require a gradient"):
        attend(qkv, tables=(table, table.clone().requires_grad_()), **how)


def test_operands_on_two_devices_are_refused() -> None:
    """Torch would take the one without memory as a sign that the result needs none."""
    x, table = torch.zeros(1, 6, 48), torch.rand(6, 8, device="meta")
    with pytest.raises(ValueError, match="given tensors on cpu and meta, but needs all on one"):
        rotary_attention(x, num_heads=1, num_kv_heads=1, tables=(table, table))
    with pytest.raises(ValueError, match="given tensors on cpu and meta"):
        causal_attention_by_products(x, x.to("meta"), x)
    with pytest.raises(ValueError, match="given tensors on cpu and meta"):
        head_loss(x[0], torch.zeros(5, 48), torch.zeros(6, dtype=torch.int64, device="meta"))


@pytest.mark.parametrize("heads", [(0, 1), (1, 0), (2, -1), (-3, 3), (3, 2)], ids=str)
def test_attention_refuses_heads_that_are_none(heads: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="columns are not"):
        rotary_attention(
            torch.zeros(1, 6, 48), num_heads=heads[0], num_kv_heads=heads[1], tables=None
        )


def test_the_operation_of_attention_refuses_what_torch_lets_through() -> None:
    operation = torch.ops.nn_layers.rotary_attention
    qkv, table = torch.zeros(1, 6, 48), torch.rand(6, 8)
    with pytest.raises(ValueError, match="sin of shape"):
        operation(qkv, table, table[:2], 1, 1, 1)
    backward = torch.ops.nn_layers.rotary_attention_backward
    out, totals = operation(qkv, table, table, 1, 1, 1)
    with pytest.raises(ValueError, match="totals of shape"):
        backward(out, qkv, table, table, out, totals[..., :3], 1, 1, 1)
    with pytest.raises(ValueError, match="d_out of shape"):
        backward(out[:, :3], qkv, table, table, out, totals, 1, 1, 1)
