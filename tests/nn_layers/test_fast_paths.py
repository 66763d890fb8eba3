"""The fast ways to compute hold to the plain ones, in values and in gradients."""

import pytest
import torch
from torch import Tensor

from nn_layers import (
    ModelConfig,
    TransformerLM,
    cross_entropy,
    fused_cross_entropy,
    linear_cross_entropy,
    scaled_dot_product_attention,
)
from nn_layers.backends.attention.matmul import ROWS_A_BLOCK, causal_attention_by_products
from nn_layers.backends.cpu.kernels import why_no_native_kernels
from nn_layers.backends.cpu.loss import replace_by_gradient_natively_
from nn_layers.backends.loss.chunked import _replace_by_gradient_in_one_kernel_
from nn_layers.backends.loss.in_place import replace_by_gradient_
from nn_layers.block import TransformerBlock


def _leaves(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]


def _value_and_gradients(value: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    return [value.detach(), *torch.autograd.grad(value, leaves)]


@pytest.mark.parametrize("length", [1, 5, ROWS_A_BLOCK, 2 * ROWS_A_BLOCK + 3])
def test_attention_by_products_is_the_formula(length: int) -> None:
    leaves = _leaves(*[(2, 3, length, 4)] * 3)
    weights = _leaves((2, 3, length, 4), seed=1)[0].detach()
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    fast = (causal_attention_by_products(*leaves) * weights).sum()
    plain = (scaled_dot_product_attention(*leaves, mask) * weights).sum()
    torch.testing.assert_close(
        _value_and_gradients(fast, leaves), _value_and_gradients(plain, leaves)
    )


def test_attention_by_products_is_the_same_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = _leaves(*[(2, 3, ROWS_A_BLOCK + 2, 4)] * 3)
    whole = causal_attention_by_products(*leaves).square().sum()
    expected = _value_and_gradients(whole, leaves)
    monkeypatch.setattr("nn_layers.backends.attention.matmul._SQUARE_BYTES", 1)
    found = causal_attention_by_products(*leaves).square().sum()
    torch.testing.assert_close(_value_and_gradients(found, leaves), expected)


def test_attention_by_products_keeps_no_square() -> None:
    leaves, kept = _leaves(*[(2, 3, 40, 4)] * 3), []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: pytest.fail("read")):
        causal_attention_by_products(*leaves)
    assert sum(one.numel() for one in kept) == sum(one.numel() for one in leaves)


def test_attention_by_products_takes_autocasts_type() -> None:
    q, k, v = (one.detach().float() for one in _leaves(*[(2, 5, 4)] * 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = causal_attention_by_products(q, k, v)
    narrow = causal_attention_by_products(*(one.bfloat16() for one in (q, k, v)))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, narrow)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_attention_by_products_is_a_sound_operation_of_torch() -> None:
    leaves = _leaves(*[(3, 5, 4)] * 3)
    torch.library.opcheck(torch.ops.nn_layers.causal_attention.default, tuple(leaves))


@pytest.mark.parametrize("scale", [1.0, 0.25, 300.0])
def test_the_loss_in_one_pass_is_the_formula(scale: float) -> None:
    (x,) = _leaves((2, 3, 11))
    targets = torch.tensor([[0, 10, 4], [4, 4, 1]])
    fast = fused_cross_entropy(x * scale, targets) * scale
    plain = cross_entropy(x * scale, targets) * scale
    torch.testing.assert_close(_value_and_gradients(fast, [x]), _value_and_gradients(plain, [x]))


@pytest.mark.parametrize("rows", [1, 4, 7, 100])
def test_the_loss_in_chunks_is_the_formula(rows: int) -> None:
    hidden, weight = _leaves((2, 7, 5), (11, 5))
    targets = torch.randint(11, (2, 7), generator=torch.Generator().manual_seed(0))
    fast = linear_cross_entropy(hidden, weight, targets, rows=rows) * 3
    plain = cross_entropy(hidden @ weight.T, targets) * 3
    torch.testing.assert_close(
        _value_and_gradients(fast, [hidden, weight]), _value_and_gradients(plain, [hidden, weight])
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("count", "vocabulary"), [(1, 1), (5, 16), (37, 70), (64, 1000)])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_native_loss_is_the_formula(count, vocabulary, scale, dtype) -> None:
    if reason := why_no_native_kernels(dtype):
        pytest.skip(reason)
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn(count, vocabulary, generator=generator)).to(dtype)
    targets = torch.randint(vocabulary, (count,), generator=generator)
    exact, native = logits.double(), logits.clone()
    expected = replace_by_gradient_(exact, targets, count=64)
    found = replace_by_gradient_natively_(native, targets, count=64)
    rounding = {torch.float32: 1e-6, torch.bfloat16: 8e-3}[dtype]
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(native.double(), exact, rtol=rounding, atol=rounding / 64)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_the_native_loss_of_what_is_no_number_is_none(number: float) -> None:
    if reason := why_no_native_kernels(torch.float32):
        pytest.skip(reason)
    logits = torch.zeros(3, 20)
    logits[1, 4] = number
    loss = replace_by_gradient_natively_(logits, torch.tensor([0, 1, 2]), count=3)
    assert loss.isnan()
    assert logits.isnan().any(1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (torch.tensor([0, 20]), r"are 0 \.\. 20, but 2 ids of 0 \.\. 19"),
        (torch.tensor([-1, 3]), r"are -1 \.\. 3"),
        (torch.tensor([0, 1], dtype=torch.int32), "int64 targets are needed"),
    ],
)
def test_what_would_be_outside_of_the_logits_is_refused(targets: Tensor, named: str) -> None:
    logits = torch.zeros(2, 20)
    with pytest.raises(ValueError, match=named):
        replace_by_gradient_natively_(logits, targets, count=2)
    with pytest.raises(ValueError, match="contiguous logits on the CPU"):
        replace_by_gradient_natively_(torch.zeros(20, 2).T, torch.tensor([0, 1]), count=2)
    assert not logits.any()


def test_the_native_path_of_head_and_loss_is_the_plain_one() -> None:
    if reason := why_no_native_kernels(torch.float32):
        pytest.skip(reason)
    leaves = [one.detach().float().requires_grad_() for one in _leaves((2, 7, 5), (11, 5))]
    targets = torch.randint(11, (2, 7), generator=torch.Generator().manual_seed(0))
    found = [
        _value_and_gradients(linear_cross_entropy(*leaves, targets, rows=4, path=path) * 3, leaves)
        for path in ("plain", "native")
    ]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"num_kv_heads": 2},
        {"qk_norm": True},
        {"rope_layout": "half"},
        {"position": "none", "num_kv_heads": 1},
    ],
    ids=str,
)
def test_stacked_projections_give_the_same_block(switches: dict[str, object]) -> None:
    config = ModelConfig(31, 12, 16, 1, 4, 24, attention="plain", **switches)
    block = TransformerBlock(config, dtype=torch.float64)
    leaves = [*_leaves((2, 12, 16)), *block.parameters()]
    plain = block(leaves[0]).square().sum()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        stacked = block(leaves[0]).square().sum()
    torch.testing.assert_close(
        _value_and_gradients(stacked, leaves), _value_and_gradients(plain, leaves)
    )


def test_the_kernel_for_a_compiler_is_the_one_for_none() -> None:
    targets = torch.tensor([0, 10, 4])
    results = []
    for replace in (replace_by_gradient_, _replace_by_gradient_in_one_kernel_):
        logits = _leaves((3, 11))[0].detach().clone()
        results.append((replace(logits, targets, count=7), logits))
    torch.testing.assert_close(*results)


def test_checkpointed_blocks_leave_the_gradients_as_they_are() -> None:
    model = TransformerLM(ModelConfig(31, 12, 16, 2, 4, 24), dtype=torch.float64)
    ids = torch.randint(31, (2, 13), generator=torch.Generator().manual_seed(0))
    results = []
    for model.activation_checkpointing in (False, True):
        loss = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
        results.append(_value_and_gradients(loss, list(model.parameters())))
    torch.testing.assert_close(*results)
