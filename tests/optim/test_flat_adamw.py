import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optim import AdamW, FlatAdamW, clip_gradients_

SHAPES = [(3, 5), (70,), (8, 8), (5,)]


def _build(seed: int = 0) -> tuple[list[torch.nn.Parameter], AdamW]:
    generator = torch.Generator().manual_seed(seed)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    groups = [
        {"params": parameters[:3], "weight_decay": 0.1},
        {"params": parameters[3:], "weight_decay": 0.0},
    ]
    return parameters, AdamW(groups, betas=(0.9, 0.95))


def _gradients(step: int, size: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [size * torch.randn(shape, generator=generator) for shape in SHAPES]


def _step_plainly(
    parameters: list[torch.nn.Parameter],
    optimizer: AdamW,
    gradients: list[torch.Tensor],
    rate: float,
) -> torch.Tensor:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    norm = clip_gradients_(parameters, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return norm


def _step_flat(flat: FlatAdamW, gradients: list[torch.Tensor], rate: float) -> torch.Tensor:
    flat.learning_rate.fill_(rate)
    flat.collect(gradients)
    return flat.update(1.0)


@settings(max_examples=10)
@given(st.lists(st.tuples(st.floats(1e-4, 1.0), st.floats(1e-3, 100.0)), min_size=1, max_size=6))
def test_flat_updates_are_those_of_adamw_after_clipping(updates: list[tuple[float, float]]) -> None:
    plain, optimizer = _build()
    ours, flattened = _build()
    flat = FlatAdamW(flattened)
    for step, (rate, size) in enumerate(updates):
        gradients = _gradients(step, size)
        expected = _step_plainly(plain, optimizer, gradients, rate)
        torch.testing.assert_close(_step_flat(flat, gradients, rate), expected)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_state_dict_says_what_that_of_adamw_says() -> None:
    plain, optimizer = _build()
    _, flattened = _build()
    flat = FlatAdamW(flattened)
    for step in range(3):
        _step_plainly(plain, optimizer, _gradients(step), 0.01)
        _step_flat(flat, _gradients(step), 0.01)
    for group in flattened.param_groups:
        group["lr"] = 0.01
    expected, found = optimizer.state_dict(), flattened.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for index, state in expected["state"].items():
        assert found["state"][index].keys() == state.keys()
        for name, value in state.items():
            torch.testing.assert_close(found["state"][index][name], value)


@pytest.mark.parametrize("is_flat_first", [True, False])
def test_training_goes_on_when_the_way_to_update_changes(is_flat_first: bool) -> None:
    plain, optimizer = _build()
    for step in range(6):
        _step_plainly(plain, optimizer, _gradients(step), 0.01)
    parameters, first = _build()
    flat = FlatAdamW(first)
    for step in range(3):
        if is_flat_first:
            _step_flat(flat, _gradients(step), 0.01)
        else:
            _step_plainly(parameters, first, _gradients(step), 0.01)
    others, second = _build(seed=1)
    for ours, theirs in zip(others, parameters, strict=True):
        ours.data.copy_(theirs)
    second.load_state_dict(first.state_dict())
    flat = None if is_flat_first else FlatAdamW(second)
    for step in range(3, 6):
        if flat is None:
            _step_plainly(others, second, _gradients(step), 0.01)
        else:
            _step_flat(flat, _gradients(step), 0.01)
    for one, other in zip(others, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_copy_follows_every_update() -> None:
    parameters, optimizer = _build()
    flat = FlatAdamW(optimizer, copy_dtype=torch.bfloat16)
    _step_flat(flat, _gradients(0), 0.1)
    for parameter in parameters:
        assert torch.equal(flat.copy_of(parameter), parameter.bfloat16())


def test_gradients_of_any_type_add_up_in_float32() -> None:
    _, optimizer = _build()
    flat = FlatAdamW(optimizer)
    mixed = [one.bfloat16() if one.dim() == 2 else one for one in _gradients(0)]
    flat.collect(mixed)
    flat.collect(mixed, add=True)
    whole = torch.cat([2 * one.float().flatten() for one in mixed])
    torch.testing.assert_close(flat.gradient.norm(), whole.norm())


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_makes_no_update(poison: float) -> None:
    parameters, optimizer = _build()
    flat = FlatAdamW(optimizer)
    _step_flat(flat, _gradients(0), 0.1)
    before = [parameter.clone() for parameter in parameters]
    poisoned = _gradients(1)
    poisoned[1][7] = poison
    assert not torch.isfinite(_step_flat(flat, poisoned, 0.1))
    assert not flat.is_sound
    assert all(map(torch.equal, parameters, before))
    assert float(optimizer.state[parameters[0]]["step"]) == 1
    _step_flat(flat, _gradients(2), 0.1)
    assert flat.is_sound
    assert float(optimizer.state[parameters[0]]["step"]) == 2
    assert not any(map(torch.equal, parameters, before))


def test_replaced_state_is_noticed() -> None:
    _, optimizer = _build()
    flat = FlatAdamW(optimizer)
    assert flat.is_current()
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert not flat.is_current()


def test_parameters_of_different_age_are_refused() -> None:
    parameters, optimizer = _build()
    parameters[0].grad = torch.ones(3, 5)
    optimizer.step()
    with pytest.raises(ValueError, match=r"updated \[0\.0, 1\.0\] times"):
        FlatAdamW(optimizer)


def test_parameters_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match=r"torch\.float64.*one float32 buffer holds all"):
        FlatAdamW(AdamW([torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))]))


@pytest.mark.slow
def test_a_compiled_update_is_the_plain_one() -> None:
    ours, optimizer = _build()
    plain, other = _build()
    compiled = FlatAdamW(optimizer, copy_dtype=torch.bfloat16, compiled=True)
    flat = FlatAdamW(other, copy_dtype=torch.bfloat16)
    for step in range(3):
        _step_flat(compiled, _gradients(step), 0.01)
        _step_flat(flat, _gradients(step), 0.01)
    for one, two in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
