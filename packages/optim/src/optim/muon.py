"""Update each hidden matrix by an orthogonal matrix, and all other parameters by AdamW.

Stage: gradients -> *update* -> weights. `reference.py` uses a singular value decomposition.
Not here: assigning parameters to groups (`parameter_groups.py`), the orthogonalisation itself.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from optim.adamw import update_by_adamw_
from optim.checks import require_at_least_zero
from optim.optimizer import Optimizer, dense_gradient
from optim.orthogonalization import Quintic, orthogonalize, resolve_coefficients

Scale = Literal["rms", "spectral"]


class Muon(Optimizer):
    """Momentum, orthogonalised: every direction of a matrix moves equally far.

    m <- mu m + (1 - mu) g; u = (1 - mu) g + mu m with Nesterov, else m; then
    theta <- (1 - lr * decay) theta - lr * scale * orthogonalize(u).

    A few directions dominate the gradient of a matrix; this update lets the others learn, too. It
    is made for matrices between hidden layers. AdamW updates groups with `rule="adamw"`: embedding,
    head and vectors (`muon_groups` makes the groups).

    Args:
        params: groups with the rule `muon` (matrices only) or `adamw`; plain parameters are `muon`.
        lr: learning rate; a group may have its own.
        momentum: mu, decay of the mean gradient, in [0, 1).
        nesterov: look ahead by one gradient.
        weight_decay: per unit of learning rate.
        scale: "rms": 0.2 sqrt(max(rows, columns)), so that an entry moves as far as with AdamW,
            whose learning rate and decay then fit (Liu et al. 2025, arXiv:2502.16982, eq. 4).
            "spectral": max(1, rows / columns)^0.5; a usual rate is 0.02 (Jordan et al. 2024).
        coefficients: a name of `COEFFICIENTS`, or polynomials.
        compute_dtype: of the orthogonalisation; None: bfloat16 on CUDA, else the parameter's.
        betas: of AdamW.
        eps: of AdamW.

    Matrices of one shape are stacked and orthogonalised together.

    Raises:
        ValueError: a value out of range, a parameter that is not a matrix, a sparse gradient.

    State per parameter: `momentum` like the parameter; under `adamw` as in `AdamW`.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    Departure: m is a mean instead of a sum; orthogonalising removes the difference.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.1,
        scale: Scale = "rms",
        coefficients: str | Sequence[Quintic] = "polar-express",
        compute_dtype: torch.dtype | None = None,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        require_at_least_zero(lr=lr, weight_decay=weight_decay, eps=eps)
        for name, value in (("momentum", momentum), ("beta1", betas[0]), ("beta2", betas[1])):
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}, but must be in [0, 1)")
        self._polynomials = resolve_coefficients(coefficients)
        self._compute_dtype = compute_dtype
        common = {"lr": lr, "weight_decay": weight_decay, "rule": "muon"}
        muon = {"momentum": momentum, "nesterov": nesterov, "scale": scale}
        super().__init__(params, common | muon | {"betas": betas, "eps": eps})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and check its rule and shapes."""
        super().add_param_group(param_group)
        _check_group(self.param_groups[-1])

    def update_group_(self, group: dict[str, Any]) -> None:
        """Update matrices all at once, and under the rule `adamw` one parameter after another."""
        if group["rule"] == "adamw":
            super().update_group_(group)
            return
        alike: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in group["params"]:
            gradient = dense_gradient(parameter)
            if gradient is not None:
                key = (*parameter.shape, parameter.dtype, parameter.device)
                alike[key].append((parameter, self._direction(parameter, gradient, group)))
        for (rows, columns, *_), pairs in alike.items():
            stacked = torch.stack([direction for _, direction in pairs])
            updates = orthogonalize(
                stacked.to(self._dtype_for(stacked)), coefficients=self._polynomials
            ).to(stacked.dtype)
            length = group["lr"] * update_scale(rows, columns, scale=group["scale"])
            for (parameter, _), update in zip(pairs, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update, alpha=length)

    def update_(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Update one parameter of the rule `adamw` and its state in place."""
        update_by_adamw_(parameter, gradient, group, state=self.state[parameter])

    def _direction(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        """Return what to orthogonalise for a matrix, having updated its mean gradient."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        mean = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean

    def _dtype_for(self, tensor: Tensor) -> torch.dtype:
        if self._compute_dtype is not None:
            return self._compute_dtype
        return torch.bfloat16 if tensor.is_cuda else tensor.dtype


def update_scale(rows: int, columns: int, *, scale: Scale) -> float:
    """Return the factor of a matrix's orthogonal update; see `Muon`.

    >>> update_scale(400, 100, scale="rms"), update_scale(400, 100, scale="spectral")
    (4.0, 2.0)
    """
    if scale == "rms":
        return 0.2 * max(rows, columns) ** 0.5
    return max(1.0, rows / columns) ** 0.5


def _check_group(group: dict[str, Any]) -> None:
    for key, choices in (("rule", ("muon", "adamw")), ("scale", ("rms", "spectral"))):
        if group[key] not in choices:
            raise ValueError(f"{key} is {group[key]!r}, but must be one of {choices}")
    if group["rule"] == "adamw":
        return
    for parameter in group["params"]:
        if parameter.dim() != 2:
            raise ValueError(
                f"a parameter of shape {tuple(parameter.shape)} has the rule 'muon', but that is "
                "for matrices; put it in a group with rule='adamw'"
            )
