"""Derivatives that an operation's own backward leaves out are refused, never left out silently."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import jvp, vmap

from nn_layers import (
    cross_entropy,
    fused_cross_entropy,
    linear_cross_entropy,
    rotary_attention,
    scaled_dot_product_attention,
)
from nn_layers.backends.attention.matmul import causal_attention_by_products
from nn_layers.backends.cpu.kernels import why_no_native_kernels

# Torch's forward mode loads its decompositions by its own deprecated compiler.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

TARGETS = torch.tensor([1, 0, 3])
MASK = torch.ones(3, 3).tril() > 0


def _chunked(path: str) -> Callable[[Tensor], Tensor]:
    weight = torch.arange(40.0).view(5, 8).cos()
    return lambda x: linear_cross_entropy(x[0, :, :8], weight, TARGETS, path=path)


# Of (1, 3, 48); the plain ones show that the checks can pass.
PLAIN = {
    "attention": lambda x: scaled_dot_product_attention(x, x, x, MASK),
    "loss": lambda x: cross_entropy(x[0], TARGETS),
}
OWN = {
    "products": lambda x: causal_attention_by_products(x, x, x),
    "rotary": lambda x: rotary_attention(x, num_heads=1, num_kv_heads=1, tables=None),
    "fused": lambda x: fused_cross_entropy(x[0] * 1, TARGETS),
    "chunked": _chunked("plain"),
    "native": _chunked("native"),
}


@pytest.fixture(autouse=True)
def _needs_the_cpu(request: pytest.FixtureRequest) -> None:
    reason = why_no_native_kernels(torch.float32)
    if reason and request.node.callspec.params["name"] in ("rotary", "native"):
        pytest.skip(reason)


def _input() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 3, 48, generator=generator).requires_grad_()


def _penalised(function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the gradient of a loss and of the length of its gradient, at once."""
    x = _input()
    loss = function(x).sum()
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + slope.square().sum()).backward()
    return x.grad


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_function_has_a_second_derivative_and_a_forward_mode(name: str) -> None:
    x = _input()
    (slope,) = torch.autograd.grad(PLAIN[name](x).sum(), x)
    assert not torch.allclose(_penalised(PLAIN[name]), slope)
    _, tangent = jvp(PLAIN[name], (x.detach(),), (torch.ones_like(x),))
    torch.testing.assert_close(tangent.sum(), slope.sum())


@pytest.mark.parametrize("name", OWN)
def test_a_second_derivative_is_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"has no second derivative|no autograd formula"):
        _penalised(OWN[name])


@pytest.mark.parametrize("name", OWN)
def test_forward_mode_is_refused(name: str) -> None:
    x = _input().detach()
    with pytest.raises(RuntimeError, match=r"no forward-mode|setup_context"):
        jvp(OWN[name], (x,), (torch.ones_like(x),))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(NotImplementedError, match=r"no forward-mode|jvp"):
            OWN[name](dual)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", [*OWN, "loss"])
def test_vmap_gives_what_a_loop_gives_or_refuses(name: str) -> None:
    function = {**OWN, **PLAIN}[name]
    several = torch.cat([_input(), 2 * _input()]).detach()[:, None]
    expected = torch.stack([function(one) for one in several])
    try:
        found = vmap(function)(several)
    except RuntimeError as error:
        assert "setup_context" in str(error)  # torch's refusal of a custom backward
        assert name in ("fused", "chunked", "native")
        return
    torch.testing.assert_close(found, expected)
