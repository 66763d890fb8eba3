"""What holds of what is compiled on the CPU; `test_step.py` runs it in a process of its own."""

import dataclasses

import pytest
import torch
from einops._backends import _type2backend as einops_backends
from torch import Tensor
from torch._functorch import config as functorch_config

from nn_layers.backends.attention.matmul import causal_attention_by_products
from trainer.config.presets import load_preset
from trainer.plan.compute import plan_compute
from trainer.plan.model import build_model
from trainer.training.model_loss import build_loss

CPU = torch.device("cpu")


def test_a_compiled_step_keeps_less_and_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = _loss_and_gradients(is_compiled=False)
    lean, kept = _loss_and_gradients(is_compiled=True)
    monkeypatch.setattr("trainer.training.model_loss.KEPT_FOR_BACKWARD", 1.0)
    torch.compiler.reset()
    _, would_keep = _loss_and_gradients(is_compiled=True)
    assert kept < would_keep
    for ours, theirs in zip(lean, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert functorch_config.activation_memory_budget == 1.0, "others' compiling is touched"


@pytest.mark.parametrize(
    ("model", "training"),
    [
        ({"qk_norm": True, "num_kv_heads": 1, "norm": "post"}, {"activation_checkpointing": True}),
        ({"feed_forward": "silu", "tie_embeddings": True, "rope_layout": "half"}, {}),
        ({"position": "none", "norm": "none", "attention": "sdpa"}, {"loss": "in-place"}),
        ({"attention": "plain"}, {"loss": "plain"}),
    ],
)
def test_every_kind_of_model_computes_the_same_when_compiled(
    model: dict[str, object], training: dict[str, object]
) -> None:
    torch.compiler.reset()
    plain, _ = _loss_and_gradients(is_compiled=False, model=model, **training)
    lean, _ = _loss_and_gradients(is_compiled=True, model=model, **training)
    for ours, theirs in zip(lean, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_compiled_checkpointed_step_is_the_first_to_use_einops() -> None:
    plain, _ = _loss_and_gradients(is_compiled=False)
    torch.compiler.reset()
    _, would_keep = _loss_and_gradients(is_compiled=True)
    einops_backends.clear()
    torch.compiler.reset()
    lean, kept = _loss_and_gradients(is_compiled=True, activation_checkpointing=True)
    assert kept < would_keep
    for ours, theirs in zip(lean, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_compiled_attention_is_the_uncompiled_one(dtype: torch.dtype, error: float) -> None:
    inputs = torch.randn(3, 2, 3, 150, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    compiled = torch.compile(causal_attention_by_products, fullgraph=True)
    for ours, exact in zip(
        _with_gradients(compiled, inputs),
        _with_gradients(causal_attention_by_products, inputs.double()),
        strict=True,
    ):
        assert (ours - exact).norm() <= error * exact.norm()


def _with_gradients(attention: object, inputs: Tensor) -> list[Tensor]:
    q, k, v = (one.clone().requires_grad_() for one in inputs)
    heads = attention(q, k, v)
    heads.float().square().sum().backward()
    return [heads.detach(), *(one.grad for one in (q, k, v))]


def _loss_and_gradients(
    *, is_compiled: bool, model: dict[str, object] | None = None, **training: object
) -> tuple[list[Tensor], int]:
    """Return loss and gradients of one batch, and the bytes kept in between."""
    preset = load_preset("quickstart")
    small = {"context_length": 8, "d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 64}
    config = dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, **small, **(model or {})),
        training=dataclasses.replace(preset.training, **training),
    )
    plan = dataclasses.replace(plan_compute(config, device=CPU), compile=is_compiled)
    built = build_model(config, vocab_size=32, device=CPU, attention=plan.attention)
    ids = torch.arange(36).remainder(32).reshape(4, 9)
    kept: dict[int, int] = {}

    def note(one: Tensor) -> Tensor:
        kept[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        return one

    with torch.autograd.graph.saved_tensors_hooks(note, lambda one: one):
        loss = build_loss(built, plan=plan, device=CPU)(ids[:, :-1], ids[:, 1:])
    loss.backward()
    return [loss, *(p.grad for p in built.parameters())], sum(kept.values())
