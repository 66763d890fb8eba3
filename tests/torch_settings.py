"""Torch's global settings, as other people's programs make them, to run our names under.

A test of a full product marks it `matrix`; `EACH_SETTING` leaves its representatives in every run.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

Run = Callable[[], Any]
"""Computes something; gives a tensor, a list of tensors, or any plain value."""


@contextmanager
def _set(change: Callable[[Any], object], value: Any, before: Any) -> Iterator[None]:
    change(value)
    try:
        yield
    finally:
        change(before)


def _default_dtype(dtype: torch.dtype) -> Callable[[], AbstractContextManager[None]]:
    return lambda: _set(torch.set_default_dtype, dtype, torch.get_default_dtype())


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "default type bfloat16": _default_dtype(torch.bfloat16),
    "default device meta": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "default type float16": _default_dtype(torch.float16),
    "default type float64": _default_dtype(torch.float64),
    "default device cpu": lambda: torch.device("cpu"),
    "deterministic algorithms": lambda: _set(
        torch.use_deterministic_algorithms, True, torch.are_deterministic_algorithms_enabled()
    ),
    "anomaly mode": lambda: torch.autograd.set_detect_anomaly(True),
    "no gradients": torch.no_grad,
    "one thread": lambda: _set(torch.set_num_threads, 1, torch.get_num_threads()),
    "no denormals": lambda: _set(torch.set_flush_denormal, True, False),
    "medium precision": lambda: _set(
        torch.set_float32_matmul_precision, "medium", torch.get_float32_matmul_precision()
    ),
    "another seed": lambda: _set(torch.set_rng_state, _state_of(5), torch.get_rng_state()),
}
_ALWAYS = 3  # the first ones: of the types of new tensors, of their device, of products
_WITHOUT_GRADIENTS = {"inference mode", "no gradients"}
_CHANGING_PRODUCTS = {"autocast", "medium precision", "one thread"}
"""What torch's own products give other numbers under."""


def marks_of(setting: str) -> list[pytest.MarkDecorator]:
    return [] if setting in list(SETTINGS)[:_ALWAYS] else [pytest.mark.matrix]


EACH_SETTING = pytest.mark.parametrize(
    "setting", [pytest.param(name, marks=marks_of(name)) for name in SETTINGS]
)


def _state_of(seed: int) -> Tensor:
    return torch.Generator("cpu").manual_seed(seed).get_state()


def changes_products(setting: str) -> bool:
    return setting in _CHANGING_PRODUCTS


def observe(run: Run, leaves: Sequence[Tensor], *, setting: str | None) -> list[Any]:
    """Return what `run` gives, then the gradients of its tensors where a setting lets there be any.

    A refusal counts as a result: one in words, of which a caller can make something.
    """
    for leaf in leaves:
        leaf.grad = None
    with SETTINGS[setting]() if setting else torch.device("cpu"):
        try:
            found = run()
        except (ValueError, NotImplementedError) as error:
            return [f"{type(error).__name__}: {error}"]
        values = list(found) if isinstance(found, list | tuple) else [found]
        tied = [one for one in values if isinstance(one, Tensor) and one.requires_grad]
        if tied:
            sum(one.double().square().sum() for one in tied).backward()
    grads = [] if setting in _WITHOUT_GRADIENTS else [leaf.grad for leaf in leaves]
    return [*(one.detach() if isinstance(one, Tensor) else one for one in values), *grads]


def assert_same(found: Sequence[Any], expected: Sequence[Any], *, rounding: float = 0.0) -> None:
    """Compare what `observe` returned: types and devices, and every bit where nothing is rounded.

    `rounding` is that of a whole tensor, relative to its length. `expected` may hold gradients
    that a setting did not let there be.
    """
    assert len(found) <= len(expected)
    for ours, theirs in zip(found, expected, strict=False):
        if not isinstance(ours, Tensor):
            assert ours == theirs
            continue
        assert (ours.dtype, ours.device) == (theirs.dtype, theirs.device)
        if rounding:
            assert (ours - theirs).norm() <= rounding * theirs.norm()
        else:
            assert torch.equal(ours.nan_to_num(7.0), theirs.nan_to_num(7.0))
