"""Update each hidden matrix by an orthogonal matrix, and all other parameters by AdamW.

Stage: gradients -> *update* -> weights. `reference.py` uses a singular value decomposition.
Not here: assigning parameters to groups (`parameter_groups.py`), the orthogonalisation itself.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from optim.adamw import new_moments, update_moments_
from optim.checks import dense_gradient, require_at_least_zero
from optim.orthogonalization import Quintic, orthogonalize, resolve_coefficients

Scale = Literal["rms", "spectral"]


class Muon(torch.optim.Optimizer):
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

    A group's `row_blocks` may list, for each of its parameters, the number of rows of each
    projection stacked in it; each is then a matrix of its own. Matrices of the same shape are
    stacked and orthogonalised together.

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
        common = {"lr": lr, "weight_decay": weight_decay, "rule": "muon", "row_blocks": None}
        muon = {"momentum": momentum, "nesterov": nesterov, "scale": scale}
        super().__init__(params, common | muon | {"betas": betas, "eps": eps})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and check its rule and shapes."""
        super().add_param_group(param_group)
        _check_group(self.param_groups[-1])

    @torch.no_grad()
    def step(self, closure: Callable[[], float | Tensor] | None = None) -> float | Tensor | None:
        """Update every parameter that has a gradient; return what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["rule"] == "muon":
                self._update_matrices(group)
            else:
                self._update_others(group)
        return loss

    def _update_others(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            gradient = dense_gradient(parameter)
            if gradient is not None:
                state = self.state[parameter]
                if not state:
                    state.update(new_moments(parameter))
                update_moments_(parameter, gradient, state, group)

    def _update_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, direction in self._directions(group):
            key = (*parameter.shape, parameter.dtype, parameter.device)
            alike[key].append((parameter, direction))
        for (rows, columns, *_), pairs in alike.items():
            stacked = torch.stack([direction for _, direction in pairs])
            updates = orthogonalize(
                stacked.to(self._dtype_for(stacked)), coefficients=self._polynomials
            ).to(stacked.dtype)
            length = group["lr"] * update_scale(rows, columns, scale=group["scale"])
            for (parameter, _), update in zip(pairs, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update, alpha=length)

    def _directions(self, group: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every matrix and its direction to orthogonalise; stacked projections one by one."""
        blocks = group["row_blocks"] or itertools.repeat(None)
        for parameter, rows in zip(group["params"], blocks, strict=False):
            gradient = dense_gradient(parameter)
            if gradient is None:
                continue
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            mean = state["momentum"].lerp_(gradient, 1 - group["momentum"])
            direction = gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
            sizes = [len(parameter)] if rows is None else list(rows)
            yield from zip(parameter.split(sizes), direction.split(sizes), strict=True)

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
    blocks = group["row_blocks"]
    rows = [len(parameter) for parameter in group["params"]]
    if blocks is not None and [sum(sizes) for sizes in blocks] != rows:
        raise ValueError(
            f"row_blocks are {blocks}, but the parameters have {rows} rows; list for each the rows "
            "of every stacked projection"
        )
