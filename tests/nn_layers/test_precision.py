"""Norms, softmax, rotation and loss: narrow floats are widened, float64 stays as wide as it is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nn_layers import RMSNorm, RotaryPositionalEmbedding, cross_entropy, softmax

TARGETS = torch.tensor([0, 5, 7])
FUNCTIONS = {
    "rms_norm": lambda x: RMSNorm(8, dtype=x.dtype)(x),
    "softmax": lambda x: softmax(x, dim=-1),
    "rope": lambda x: RotaryPositionalEmbedding(100.0, 8, 16)(x, torch.tensor([1, 3, 15])),
    "cross_entropy": lambda x: cross_entropy(x, TARGETS),
}
EACH = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


def _random() -> Tensor:
    return torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@EACH
def test_narrow_floats_compute_in_float32(
    function: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    x = _random().to(dtype)
    narrow, wide = function(x), function(x.float())
    assert narrow.dtype == (torch.float32 if narrow.ndim == 0 else dtype)
    assert torch.equal(narrow, wide.to(narrow.dtype))


@EACH
def test_float64_stays_float64(function: Callable[[Tensor], Tensor]) -> None:
    x = _random()
    exact, rounded = function(x), function(x.float())
    assert exact.dtype == torch.float64
    assert 0 < (exact - rounded).abs().max() < 1e-6
