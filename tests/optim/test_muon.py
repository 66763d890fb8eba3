"""Muon against its twin by singular value decomposition, and the groups it works on."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nn_layers import ModelConfig, TransformerLM
from optim import AdamW, Muon, muon_groups, orthogonalize
from optim.orthogonalization import COEFFICIENTS
from optim.reference import muon_step, polar_factor

# Newton-Schulz's own polynomial, so often that nothing is left to converge.
EXACT = ((1.875, -1.25, 0.375),) * 30


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _parameters(*shapes: tuple[int, ...]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(_random(*shape, seed=i)) for i, shape in enumerate(shapes)]


def _set_gradients(parameters: list[torch.nn.Parameter], step: int) -> None:
    for i, parameter in enumerate(parameters):
        parameter.grad = _random(*parameter.shape, seed=1000 + 100 * step + i)


@settings(max_examples=15)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    seed=st.integers(0, 99),
    size=st.sampled_from([1e-20, 1.0, 1e20]),
    name=st.sampled_from(sorted(COEFFICIENTS)),
)
def test_singular_values_become_nearly_one_and_directions_stay(
    rows: int, columns: int, seed: int, size: float, name: str
) -> None:
    u, _, vt = torch.linalg.svd(_random(rows, columns, seed=seed), full_matrices=False)
    values = torch.logspace(0, -1.5, len(vt), dtype=torch.float64)
    # The Frobenius norm divides them by 2 at most: none is below 0.01, where the slower one ends.
    got = orthogonalize(size * (u * values) @ vt, coefficients=COEFFICIENTS[name])
    inner = u.mT @ got @ vt.mT
    torch.testing.assert_close(inner, inner.diagonal().diag(), rtol=0, atol=1e-10)
    lowest = {"jordan": 0.68, "polar-express": 0.87}[name]
    tiny = size < 1e-10  # far below what a norm is kept from being zero by
    assert inner.diagonal().max() < 1.14
    assert tiny or inner.diagonal().min() > lowest


@pytest.mark.parametrize("shape", [(6, 6), (3, 8), (8, 3), (1, 5), (2, 4, 7)])
def test_repeated_polynomials_end_at_the_polar_factor(shape: tuple[int, ...]) -> None:
    matrices = _random(*shape)
    got = orthogonalize(matrices, coefficients=EXACT).reshape(-1, *shape[-2:])
    for one, matrix in zip(got, matrices.reshape(-1, *shape[-2:]), strict=True):
        torch.testing.assert_close(one, polar_factor(matrix), rtol=0, atol=1e-12)


def test_the_polar_factor_by_hand() -> None:
    matrix = torch.tensor([[0.0, 2.0], [-3.0, 0.0]])
    torch.testing.assert_close(polar_factor(matrix), torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))


def test_zero_and_bfloat16_are_orthogonalized_too() -> None:
    assert not orthogonalize(torch.zeros(3, 4)).any()
    matrix = _random(40, 64)
    half = orthogonalize(matrix.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), orthogonalize(matrix), rtol=0, atol=0.02)


def test_muon_is_its_twin_for_every_shape_at_once() -> None:
    shapes = [(5, 3), (3, 5), (4, 4), (5, 3), (4, 4)]
    ours, thetas = _parameters(*shapes), [one.detach().clone() for one in _parameters(*shapes)]
    groups = [{"params": ours[:3]}, {"params": ours[3:], "lr": 3e-3, "weight_decay": 0.01}]
    optimizer = Muon(groups, lr=1e-2, weight_decay=0.3, coefficients=EXACT)
    momenta = [torch.zeros_like(theta) for theta in thetas]
    for step in range(8):
        _set_gradients(ours, step)
        for i, parameter in enumerate(ours):
            rates = {"alpha": 1e-2, "decay": 0.3} if i < 3 else {"alpha": 3e-3, "decay": 0.01}
            thetas[i], momenta[i] = muon_step(
                thetas[i], parameter.grad, momenta[i], mu=0.95, **rates
            )
        optimizer.step()
    for parameter, theta in zip(ours, thetas, strict=True):
        torch.testing.assert_close(parameter.detach(), theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("scale", "expected"), [("rms", 0.2 * math.sqrt(8)), ("spectral", math.sqrt(8 / 2))]
)
def test_the_first_step_is_the_polar_factor_times_the_scale(scale: str, expected: float) -> None:
    (parameter,) = _parameters((8, 2))
    before = parameter.detach().clone()
    parameter.grad = _random(8, 2, seed=5)
    settings = {"scale": scale, "weight_decay": 0.0, "coefficients": EXACT, "nesterov": False}
    Muon([parameter], lr=0.1, **settings).step()
    moved = (before - parameter.detach()) / 0.1
    torch.testing.assert_close(moved, expected * polar_factor(parameter.grad))


def test_the_rule_adamw_is_adamw_bitwise() -> None:
    ours, theirs = _parameters((5, 3), (7,)), _parameters((5, 3), (7,))
    settings = {"lr": 1e-2, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.2}
    optimizers = [Muon([{"params": ours, "rule": "adamw"}], **settings), AdamW(theirs, **settings)]
    for step in range(5):
        for parameters, optimizer in zip((ours, theirs), optimizers, strict=True):
            _set_gradients(parameters, step)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_state_restored_continues_bitwise() -> None:
    shapes = [(8, 6), (6, 6), (7,)]
    whole, cut = _parameters(*shapes), _parameters(*shapes)

    def build(parameters: list[torch.nn.Parameter]) -> Muon:
        matrices = {"params": parameters[:2]}
        return Muon([{"params": parameters[2:], "rule": "adamw"}, matrices], lr=1e-2)

    first, second = build(whole), build(cut)
    for step in range(6):
        if step == 3:
            restored = build(cut)
            restored.load_state_dict(second.state_dict())
            second = restored
        for parameters, optimizer in ((whole, first), (cut, second)):
            _set_gradients(parameters, step)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))


def test_parameters_without_a_gradient_stay() -> None:
    first, second = _parameters((3, 3), (3, 3))
    before = second.detach().clone()
    first.grad = _random(3, 3)
    assert Muon([first, second], lr=0.1).step(lambda: 3.0) == 3.0
    assert torch.equal(second, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "lr is -1.0, but must be >= 0"),
        ({"momentum": 1.0}, r"momentum is 1.0, but must be in \[0, 1\)"),
        ({"betas": (0.9, 1.0)}, "beta2 is 1.0"),
        ({"coefficients": "newton"}, "coefficients are 'newton', but must be one of 'jordan'"),
    ],
)
def test_values_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Muon(_parameters((3, 3)), **settings)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"params": _parameters((3,))}, r"shape \(3,\) has the rule 'muon', .* rule='adamw'"),
        ({"params": _parameters((3, 3)), "rule": "sgd"}, "rule is 'sgd', but must be one of"),
        ({"params": _parameters((3, 3)), "scale": "none"}, "scale is 'none', but must be one of"),
    ],
)
def test_groups_that_cannot_be_updated_are_refused(group: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Muon([group])


def test_a_sparse_gradient_is_refused() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    parameter.grad = torch.sparse_coo_tensor([[0], [1]], [1.0], (2, 3), check_invariants=True)
    with pytest.raises(ValueError, match="sparse"):
        Muon([parameter]).step()


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_a_models_parameters_are_each_in_one_group(tie_embeddings: bool) -> None:
    model = TransformerLM(ModelConfig(11, 4, 8, 2, 2, 16, tie_embeddings=tie_embeddings))
    outer, vectors, hidden = muon_groups(model, weight_decay=0.1)
    assert [group["rule"] for group in (outer, vectors, hidden)] == ["adamw", "adamw", "muon"]
    assert len(outer["params"]) == (1 if tie_embeddings else 2)
    assert all(parameter.dim() == 1 for parameter in vectors["params"])
    assert len(hidden["params"]) == 2 * 7
    grouped = [id(one) for group in (outer, vectors, hidden) for one in group["params"]]
    assert sorted(grouped) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no parameter is part of 'token_embeddings' or 'lm_head'"),
        ({"ends": (), "weight_decay": -1.0}, "weight_decay is -1.0"),
    ],
)
def test_groups_of_another_model_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        muon_groups(torch.nn.Linear(2, 2), **{"weight_decay": 0.1, **options})


def test_a_frozen_model_is_refused() -> None:
    with pytest.raises(ValueError, match="unfreeze"):
        muon_groups(torch.nn.Linear(2, 2).requires_grad_(False), weight_decay=0.1)
