"""Make all singular values of a matrix nearly equal, with matrix products alone.

Stage: momentum -> *orthogonal update* -> weights, inside Muon. `reference.py` does the same
exactly, and slowly, by singular value decomposition.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

Quintic = tuple[float, float, float]
"""(a, b, c) of p(s) = a s + b s^3 + c s^5."""

_SAFETY = 1.01  # of polar-express: its authors' margin for rounding in bfloat16
_TINY = 1e-7


def _safe(*polynomials: Quintic) -> tuple[Quintic, ...]:
    return tuple((a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in polynomials)


COEFFICIENTS: dict[str, tuple[Quintic, ...]] = {
    "jordan": ((3.4445, -4.7750, 2.0315),) * 5,
    "polar-express": _safe(
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    ),
}
"""Polynomials applied one after another to the singular values, by name.

jordan: one polynomial, five times, with the steepest bounded rise from zero; maps [0.01, 1] to
[0.68, 1.14]. Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
kellerjordan.github.io/posts/muon. polar-express: five polynomials, each optimal for the image
of [0.001, 1] under those before; the same number of products, closer to 1. Source: Amsel et al.
2025, arXiv:2505.16932.
"""


def resolve_coefficients(coefficients: str | Sequence[Quintic]) -> tuple[Quintic, ...]:
    """Return polynomials, by name or as they are."""
    if not isinstance(coefficients, str):
        return tuple(coefficients)
    if coefficients not in COEFFICIENTS:
        names = ", ".join(map(repr, COEFFICIENTS))
        raise ValueError(f"coefficients are {coefficients!r}, but must be one of {names}")
    return COEFFICIENTS[coefficients]


def orthogonalize(
    matrices: Float[Tensor, "... m n"],
    *,
    coefficients: Sequence[Quintic] = COEFFICIENTS["polar-express"],
) -> Float[Tensor, "... m n"]:
    """Map each matrix U S V^T close to U V^T, the nearest with orthonormal rows or columns.

    X <- a X + (b A + c A^2) X with A = X X^T applies p to the singular values, whatever U and V
    are. X starts with a Frobenius norm of at most 1, so no singular value exceeds 1. The smaller
    side is squared: 4 m^2 n + 2 m^3 FLOPs per polynomial for m <= n.

    Args:
        matrices: batched; computed in their dtype, also under autocast; bfloat16 suffices.
        coefficients: one polynomial after another.

    Returns:
        Matrices of the same shape and dtype; zero stays zero.

    >>> orthogonalize(torch.diag(torch.tensor([3.0, 0.5]))).diagonal().round()
    tensor([1., 1.])
    """
    *batch, rows, columns = matrices.shape
    x = matrices.reshape(-1, rows, columns)
    if rows > columns:
        x = x.mT
    wide = torch.promote_types(x.dtype, torch.float32)
    norms = torch.linalg.matrix_norm(x, keepdim=True, dtype=wide)
    x = (x / (norms * _SAFETY + _TINY)).to(matrices.dtype)
    with _without_autocast(x.device.type):
        for a, b, c in coefficients:
            square = x @ x.mT
            polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
            x = torch.baddbmm(x, polynomial, x, beta=a)
    if rows > columns:
        x = x.mT
    return x.reshape(*batch, rows, columns)


def _without_autocast(kind: str) -> AbstractContextManager[object]:
    """Return a context where products keep their dtype; some devices (meta) have no autocast."""
    is_known = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if is_known else nullcontext()
