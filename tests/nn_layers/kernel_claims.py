"""What the Triton kernels compute, by Triton's interpreter on the CPU.

`test_kernels.py` runs this file in a process of its own: whether kernels are interpreted is settled
when triton is first imported.
"""

import numpy as np
import pytest
import torch
from attention_twin import ROUNDING, compare_attention, plain_attention
from hypothesis import given, settings
from hypothesis import strategies as st

from nn_layers import (
    ModelConfig,
    TransformerLM,
    cross_entropy,
    head_loss,
    rotary_attention,
)

pytest.importorskip("triton", reason="the kernels need triton")

from triton.runtime import interpreter

from nn_layers.backends.triton import attention as attention_launch
from nn_layers.backends.triton import cross_entropy as cross_entropy_launch
from nn_layers.backends.triton.attention import Blocks


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let short windows have several blocks, and the interpreter multiply bfloat16."""
    monkeypatch.setattr(attention_launch, "forward_blocks", lambda **_: Blocks(32, 16, 4, 1))
    two = (Blocks(16, 32, 4, 1), Blocks(32, 16, 4, 1))
    monkeypatch.setattr(attention_launch, "backward_blocks", lambda *_, **__: two)
    monkeypatch.setattr(cross_entropy_launch, "COLUMNS", 32)
    multiply = interpreter.InterpreterBuilder.create_dot

    def multiply_widened(self, a, b, *rest):
        return multiply(self, _widened(a), _widened(b), *rest)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", multiply_widened)


def _widened(handle):
    """The interpreter holds bfloat16 as its bits, and would multiply those."""
    if handle.data.dtype != np.uint16:
        return handle
    bits = handle.data.astype(np.uint32) << 16
    return interpreter.TensorHandle(bits.view(np.float32), interpreter.tl.float32)


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [
        ("adjacent", torch.float32),
        ("half", torch.bfloat16),
        pytest.param("half", torch.float32, marks=pytest.mark.slow),
        pytest.param(None, torch.float32, marks=pytest.mark.slow),
        pytest.param("adjacent", torch.float16, marks=pytest.mark.slow),
    ],
)
def test_attention_is_the_plain_formula_and_so_are_its_gradients(layout, dtype):
    compare_attention(length=39, layout=layout, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("width", [32, 64, 128])
def test_attention_has_kernels_for_these_widths(width):
    compare_attention(length=17, width=width, layout="half", dtype=torch.float32)


def test_grouped_heads_share_keys_and_their_gradients():
    compare_attention(
        batch=2, length=18, num_heads=4, num_kv_heads=2, layout="adjacent", dtype=torch.float32
    )


@pytest.mark.slow
@settings(max_examples=40)
@given(data=st.data())
def test_attention_is_the_plain_formula_for_any_shape(data):
    groups = data.draw(st.integers(1, 2))
    compare_attention(
        batch=data.draw(st.integers(1, 2)),
        length=data.draw(st.integers(1, 100)),
        num_heads=groups * data.draw(st.integers(1, 3)),
        num_kv_heads=groups,
        width=data.draw(st.sampled_from([16, 32])),
        layout=data.draw(st.sampled_from(["adjacent", "half", None])),
        dtype=data.draw(st.sampled_from(sorted(ROUNDING, key=str))),
        seed=data.draw(st.integers(0, 99)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("length", [255, 256, 300])
def test_attention_holds_with_the_blocks_that_a_gpu_gets(length, monkeypatch):
    monkeypatch.undo()
    compare_attention(length=length, width=32, layout="adjacent", dtype=torch.float16)


@pytest.mark.slow
def test_scores_of_any_size_do_not_overflow():
    qkv = torch.full((1, 20, 48), 60.0, requires_grad=True)
    rotary_attention(qkv, num_heads=1, num_kv_heads=1, tables=None).sum().backward()
    assert torch.isfinite(qkv.grad).all()


def test_strided_projections_need_no_copy():
    whole = torch.randn(2, 20, 100)
    qkv = whole[..., 4:52]
    ours = rotary_attention(qkv, num_heads=1, num_kv_heads=1, tables=None)
    torch.testing.assert_close(ours, plain_attention(qkv, 1, 1, None), rtol=3e-6, atol=3e-6)


@pytest.mark.slow
def test_the_attention_op_keeps_what_it_tells_torch():
    qkv, table = torch.randn(1, 6, 48, requires_grad=True), torch.rand(6, 8)
    torch.library.opcheck(torch.ops.nn_layers.rotary_attention, (qkv, table, table, 1, 1, 2))


def _compare_loss(*, count, vocabulary, dtype, seed=0, scale=1.0):
    torch.manual_seed(seed)
    hidden = (scale * torch.randn(count, 8)).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, 8).to(dtype).requires_grad_()
    targets = torch.randint(vocabulary, (count,))
    wide = [x.detach().float().requires_grad_() for x in (hidden, weight)]
    ours, plain = head_loss(hidden, weight, targets), cross_entropy(wide[0] @ wide[1].T, targets)
    (3 * ours).backward()
    (3 * plain).backward()
    rounding = {"rtol": 4 * ROUNDING[dtype], "atol": ROUNDING[dtype] / count}
    torch.testing.assert_close(ours, plain, rtol=ROUNDING[dtype], atol=ROUNDING[dtype])
    for narrow, full in zip((hidden, weight), wide, strict=True):
        assert narrow.grad.dtype == dtype
        torch.testing.assert_close(narrow.grad.float(), full.grad, **rounding)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float32, marks=pytest.mark.slow)]
)
def test_head_loss_is_the_plain_formula_and_so_are_its_gradients(dtype):
    _compare_loss(count=30, vocabulary=70, dtype=dtype)


def test_chunks_of_rows_add_up_to_the_whole(monkeypatch):
    monkeypatch.setattr("nn_layers.backends.loss.triton.rows_per_chunk", lambda *_, **__: 7)
    _compare_loss(count=60, vocabulary=33, dtype=torch.float32)


def test_logits_of_any_size_do_not_overflow():
    _compare_loss(count=5, vocabulary=40, dtype=torch.float32, scale=300.0)


@pytest.mark.slow
@settings(max_examples=30)
@given(
    count=st.integers(1, 40),
    vocabulary=st.integers(1, 100),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 99),
)
def test_head_loss_is_the_plain_formula_for_any_shape(count, vocabulary, dtype, seed):
    _compare_loss(count=count, vocabulary=vocabulary, dtype=dtype, seed=seed)


@pytest.mark.slow
def test_the_loss_op_keeps_what_it_tells_torch():
    hidden, weight = torch.randn(6, 8, requires_grad=True), torch.randn(9, 8, requires_grad=True)
    torch.library.opcheck(torch.ops.nn_layers.head_loss, (hidden, weight, torch.arange(6)))


def test_head_loss_depends_on_no_default_type():
    operands = torch.ones(3, 4), torch.arange(20.0).view(5, 4).cos(), torch.arange(3)
    expected = head_loss(*operands)
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert torch.equal(head_loss(*operands), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_target_that_is_no_id_is_refused_or_makes_the_loss_no_number():
    hidden, weight = torch.ones(3, 4), torch.ones(200, 4)
    with pytest.raises(ValueError, match="1 of 3 targets are -100, torch's ignore_index"):
        head_loss(hidden, weight, torch.tensor([1, -100, 2]))
    for target in (-1, -(2**40), 200, 2**40):
        assert head_loss(hidden, weight, torch.tensor([1, target, 2])).isnan()


def test_further_derivatives_of_head_loss_are_refused():
    hidden = torch.ones(3, 4, requires_grad=True)
    weight, targets = torch.arange(20.0).view(5, 4).cos(), torch.arange(3)
    with pytest.raises(NotImplementedError, match="head_loss has no second derivative"):
        torch.autograd.grad(head_loss(hidden, weight, targets), hidden, create_graph=True)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(hidden.detach(), torch.ones(3, 4))
        with pytest.raises(NotImplementedError, match="head_loss has no forward-mode derivative"):
            head_loss(dual, weight, targets)


def test_losses_are_compiled_whole():
    hidden, weight, targets = torch.ones(3, 4), torch.ones(200, 4), torch.tensor([1, 0, 199])
    ways = {
        "head": (head_loss, (hidden, weight)),
        "plain": (cross_entropy, (torch.arange(600.0).view(3, 200).sin(),)),
    }
    for loss, inputs in ways.values():
        compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
        inputs = [one.clone().requires_grad_() for one in inputs]
        found = torch.autograd.grad(compiled(*inputs, targets), inputs)
        expected = torch.autograd.grad(loss(*inputs, targets), inputs)
        torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_compiled_a_negative_target_does_not_count_from_the_end():
    compiled = torch.compile(cross_entropy, fullgraph=True)
    assert compiled(torch.zeros(2, 200), torch.tensor([3, 100])).isfinite()
    with pytest.raises(RuntimeError, match="index out of bounds"):
        compiled(torch.zeros(2, 200), torch.tensor([3, -100]))


@pytest.mark.slow
@pytest.mark.parametrize("qk_norm", [False, True])
def test_a_compiled_model_keeps_the_kernels_and_the_plain_gradients(qk_norm):
    config = ModelConfig(20, 12, 32, 1, 2, 16, num_kv_heads=1, qk_norm=qk_norm, attention="triton")
    model = TransformerLM(config)
    ids = torch.randint(20, (2, 13), generator=torch.Generator().manual_seed(0))
    results = []
    for attention in ("triton", "plain"):
        model.layers[0].attn.attention = attention
        # aot_eager traces as inductor does, and runs what it traced by torch's own kernels.
        hidden_states = torch.compile(model.hidden_states, backend="aot_eager", fullgraph=True)
        model.zero_grad()
        cross_entropy(hidden_states(ids[:, :-1]) @ model.head_weight.T, ids[:, 1:]).backward()
        results.append([parameter.grad.clone() for parameter in model.parameters()])
    for by_kernel, plain in zip(*results, strict=True):
        torch.testing.assert_close(by_kernel, plain, rtol=1e-4, atol=1e-6)
