"""Optimizers, schedules and clipping, against torch and the textbook."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optim import (
    SGD,
    AdamW,
    clip_gradients_,
    lr_cosine_schedule,
    lr_linear_schedule,
    lr_wsd_schedule,
    parameter_groups,
)
from optim.reference import Moments, adamw_step


def _parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(5, 3), (7,), (2, 2, 2)]
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
        for shape in shapes
    ]


def _groups(parameters: list[torch.nn.Parameter]) -> list[dict[str, object]]:
    return [
        {"params": parameters[:1], "weight_decay": 0.3},
        {"params": parameters[1:], "weight_decay": 0.01, "lr": 3e-3, "betas": (0.8, 0.95)},
    ]


def _set_gradients(parameters: list[torch.nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in parameters:
        shape = parameter.shape
        parameter.grad = torch.randn(shape, generator=generator, dtype=torch.float64)


def test_adamw() -> None:
    ours, theirs = _parameters(), _parameters()
    optimizers = [
        AdamW(_groups(ours), lr=1e-2, eps=1e-6),
        torch.optim.AdamW(_groups(theirs), lr=1e-2, eps=1e-6),
    ]
    for step in range(200):
        for parameters, optimizer in zip((ours, theirs), optimizers, strict=True):
            _set_gradients(parameters, step)
            optimizer.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=0)


def test_adamw_learns_what_torchs_does() -> None:
    ends = []
    for kind in (AdamW, torch.optim.AdamW):
        generator = torch.Generator().manual_seed(42)
        weight = torch.nn.Parameter(torch.randn(2, 3, generator=generator) / 2)
        optimizer = kind([weight], lr=1e-3, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8)
        for _ in range(1000):
            optimizer.zero_grad()
            x = torch.rand(3, generator=generator)
            (torch.stack((x[0] + x[1], -x[2])) - weight @ x).square().sum().backward()
            optimizer.step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-4)


def _distances(*, steps: int, lr: float, eps: float, decay: float) -> dict[str, float]:
    """Take the same steps with all three, on gradients of +-1; return how far apart they end."""
    parameter = _parameters()[0]
    optimizer = AdamW([parameter], lr=lr, betas=(0.9, 0.95), eps=eps, weight_decay=decay)
    theta = {year: parameter.detach().clone() for year in (2025, 2026)}
    moments = {
        year: Moments(torch.zeros_like(one), torch.zeros_like(one)) for year, one in theta.items()
    }
    for step in range(steps):
        _set_gradients([parameter], step)
        parameter.grad.sign_()
        settings = {"alpha": lr, "beta1": 0.9, "beta2": 0.95, "eps": eps, "decay": decay}
        for year in theta:
            arguments = theta[year], parameter.grad, moments[year]
            theta[year] = adamw_step(*arguments, **settings, year=year)
        optimizer.step()
    ends = {"adamw": parameter.detach(), "2025": theta[2025], "2026": theta[2026]}
    return {
        f"{one} {other}": (ends[one] - ends[other]).abs().max().item()
        for one, other in combinations(ends, 2)
    }


def _furthest_by_eps(*, steps: int, lr: float, eps: float) -> float:
    """Step t: Algorithm 1's eps is 1 / sqrt(1 - beta2^t) times as large beside a root of 1."""
    return lr * eps * sum(1 / math.sqrt(1 - 0.95**t) - 1 for t in range(1, steps + 1))


@pytest.mark.parametrize("steps", [1, 50])
def test_the_years_differ_by_when_they_decay(steps: int) -> None:
    lr, decay = 1e-3, 0.1
    distances = _distances(steps=steps, lr=lr, eps=0.0, decay=decay)
    # A step: lr * decay of the update, which is at most lr long where all gradients are +-1.
    most = steps * lr * decay * lr * (1 + 1e-6)
    assert 0 < distances["2025 2026"] <= most
    assert 0 < distances["adamw 2025"] <= most
    assert distances["adamw 2026"] < 1e-14


@pytest.mark.parametrize("steps", [1, 50])
def test_adamw_differs_from_both_years_by_where_it_adds_eps(steps: int) -> None:
    lr, eps = 1e-3, 1e-4
    distances = _distances(steps=steps, lr=lr, eps=eps, decay=0.0)
    most = _furthest_by_eps(steps=steps, lr=lr, eps=eps)
    assert 0 < distances["adamw 2026"] <= most
    assert 0 < distances["adamw 2025"] <= most
    assert distances["2025 2026"] == 0


def test_with_decay_and_eps_the_year_2026_is_as_near_as_eps_alone() -> None:
    steps, lr, eps, decay = 50, 1e-3, 1e-4, 0.1
    distances = _distances(steps=steps, lr=lr, eps=eps, decay=decay)
    most = _furthest_by_eps(steps=steps, lr=lr, eps=eps)
    assert 0 < distances["adamw 2026"] <= most
    assert 0 < distances["2025 2026"] <= steps * lr * decay * lr
    assert distances["adamw 2025"] <= most + steps * lr * decay * lr


def test_adamw_without_decay_and_eps_is_the_textbook_of_both_years() -> None:
    distances = _distances(steps=50, lr=1e-3, eps=0.0, decay=0.0)
    assert max(distances.values()) < 1e-14


@pytest.mark.parametrize(("year", "expected"), [(2025, 0.855), (2026, 0.85)])
def test_the_textbook_by_hand(year: int, expected: float) -> None:
    theta, g = torch.tensor([1.0]), torch.tensor([2.0])
    moments = Moments(torch.zeros(1), torch.zeros(1))
    settings = {"alpha": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 0.0, "decay": 0.5}
    after = adamw_step(theta, g, moments, **settings, year=year)
    # m_hat / sqrt(v_hat) = 2 / 2: (1 - 0.1) (1 - 0.1 * 0.5) in 2025, (1 - 0.1 * 0.5) - 0.1 in 2026.
    torch.testing.assert_close(after, torch.tensor([expected]))


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_state_restored_continues_bitwise(kind: type[torch.optim.Optimizer]) -> None:
    whole, cut = _parameters(), _parameters()
    first, second = kind(whole, lr=1e-2), kind(cut, lr=1e-2)
    for step in range(6):
        if step == 3:
            restored = kind(cut, lr=1e-2)
            restored.load_state_dict(second.state_dict())
            second = restored
        for parameters, optimizer in ((whole, first), (cut, second)):
            _set_gradients(parameters, step)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))


def test_sgd_follows_the_gradient() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = SGD([parameter], lr=0.5)
    for expected in (0.0, -1.0):
        parameter.grad = torch.tensor([2.0])
        optimizer.step()
        assert parameter.item() == expected


def test_sgd_decays_with_the_root_of_the_step() -> None:
    parameter = torch.nn.Parameter(torch.tensor([0.0], dtype=torch.float64))
    optimizer = SGD([parameter], lr=1.0, decay=True)
    expected = 0.0
    for step in range(5):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        expected -= 1 / math.sqrt(step + 1)
        assert parameter.item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    "settings",
    [{"lr": -1.0}, {"eps": -1.0}, {"weight_decay": -1.0}, {"betas": (1.0, 0.9)}, {"lr": math.nan}],
)
def test_adamw_refuses_values_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        AdamW(_parameters(), **settings)


def test_no_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        AdamW([])


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_a_sparse_gradient_is_refused(kind: type[torch.optim.Optimizer]) -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.sparse_coo_tensor([[0]], [1.0], (3,), check_invariants=True)
    with pytest.raises(ValueError, match="sparse"):
        kind([parameter]).step()


def test_get_lr_cosine_schedule() -> None:
    rates = [lr_cosine_schedule(step, 1.0, 0.1, 7, 21) for step in range(25)]
    cosines = [math.cos(math.pi * turn / 14) for turn in range(15)]
    assert rates[7:22] == pytest.approx([0.1 + 0.45 * (1 + cosine) for cosine in cosines])
    assert rates[:8] == pytest.approx([step / 7 for step in range(8)])
    assert rates[14] == pytest.approx(0.55)
    assert rates[21:] == [0.1] * 4
    assert rates[7:22] == sorted(rates[7:22], reverse=True)


def test_schedules_at_their_borders() -> None:
    borders = (0, 9, 10, 11, 29, 30, 31)
    cosine = [lr_cosine_schedule(step, 2.0, 0.5, 10, 30) for step in borders]
    linear = [lr_linear_schedule(step, 2.0, 0.5, 10, 30) for step in borders]
    wsd = [lr_wsd_schedule(step, 2.0, 0.5, 10, 5, 15) for step in borders]
    for rates in (cosine, linear, wsd):
        assert rates[:3] == [0.0, 1.8, 2.0]
        assert rates[4] > 0.5
        assert rates[5:] == [0.5, 0.5]
    assert (cosine[3] < 2.0, linear[3] < 2.0, wsd[3]) == (True, True, 2.0)
    assert lr_wsd_schedule(15, 2.0, 0.5, 10, 5, 15) == 2.0
    assert lr_wsd_schedule(16, 2.0, 0.5, 10, 5, 15) == pytest.approx(1.9)


def test_schedules_without_a_warmup_start_at_the_peak() -> None:
    assert lr_cosine_schedule(0, 2.0, 0.5, 0, 30) == 2.0
    assert lr_linear_schedule(0, 2.0, 0.5, 0, 30) == 2.0
    assert lr_wsd_schedule(0, 2.0, 0.5, 0, 5, 15) == 2.0


@given(
    step=st.integers(0, 300),
    warmup=st.integers(0, 100),
    rest=st.integers(1, 100),
    peak=st.floats(0, 10),
    share=st.floats(0, 1),
)
def test_every_schedule_stays_within_its_bounds(
    step: int, warmup: int, rest: int, peak: float, share: float
) -> None:
    floor, end = peak * share, warmup + rest
    rates = [
        lr_cosine_schedule(step, peak, floor, warmup, end),
        lr_linear_schedule(step, peak, floor, warmup, end),
        lr_wsd_schedule(step, peak, floor, warmup, rest // 2, rest - rest // 2),
    ]
    slack = 1e-12 * (1 + peak)
    lowest = 0.0 if step < warmup else floor
    assert all(lowest - slack <= rate <= peak + slack for rate in rates)
    if step >= end:
        assert rates == [floor] * 3


@pytest.mark.parametrize(
    "schedule",
    [
        lambda: lr_cosine_schedule(-1, 1.0, 0.1, 1, 2),
        lambda: lr_linear_schedule(1, 1.0, 0.1, 3, 2),
        lambda: lr_wsd_schedule(1, 1.0, 0.1, 3, -1, 2),
    ],
)
def test_impossible_schedules_are_refused(schedule: object) -> None:
    with pytest.raises(ValueError, match=r"step|warmup"):
        schedule()


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e6])
def test_gradient_clipping(max_norm: float) -> None:
    ours, theirs = _parameters(), _parameters()
    for parameters in (ours, theirs):
        _set_gradients(parameters, 0)
        parameters[1].grad = None
    norm = clip_gradients_(ours, max_norm)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    torch.testing.assert_close(norm, expected)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-12, atol=0)


def test_clipping_of_half_precision_measures_in_float32() -> None:
    parameter = torch.nn.Parameter(torch.zeros(100, dtype=torch.float16))
    parameter.grad = torch.full((100,), 3e4, dtype=torch.float16)  # the norm is beyond float16
    norm = clip_gradients_(parameter, 1.0)
    assert norm.dtype == torch.float32
    torch.testing.assert_close(norm.item(), 3e5, rtol=1e-3, atol=0)
    torch.testing.assert_close(parameter.grad.float().norm().item(), 1.0, rtol=1e-2, atol=0)


def test_clipping_without_gradients_measures_zero() -> None:
    assert clip_gradients_(_parameters(), 1.0).item() == 0


def test_clipping_refuses_a_bound_that_is_not_positive() -> None:
    with pytest.raises(ValueError, match="max_norm is 0"):
        clip_gradients_(_parameters(), 0.0)


def test_matrices_decay_vectors_do_not_and_tied_ones_are_listed_once() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5))
    model[1].weight = model[0].weight
    decayed, plain = parameter_groups(model, weight_decay=0.1)
    assert (len(decayed["params"]), decayed["weight_decay"]) == (1, 0.1)
    assert (len(plain["params"]), plain["weight_decay"]) == (1, 0.0)


@pytest.mark.parametrize("decay", [-0.1, math.nan])
def test_groups_refuse_a_decay_out_of_range(decay: float) -> None:
    with pytest.raises(ValueError, match="weight_decay is"):
        parameter_groups(torch.nn.Linear(2, 2), weight_decay=decay)
