"""Store AdamW's parameters and state in a few flat buffers, and update each in one pass.

Stage: gradients -> *update* -> weights, for devices on which one kernel launch per parameter costs
more than the arithmetic. The host never waits for the device: the rate, the count of updates, the
clipping and the decision to skip a gradient that is not finite stay there, so that a CUDA graph can
capture a step. The plain twin is `clip_gradients_` and `AdamW.step`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from optim.adamw import AdamW
from optim.clipping import EPS

ALIGNMENT = 64
"""Parameters start at multiples of this many elements, for 16-byte loads even of a 16-bit copy."""


class FlatAdamW:
    """Update the parameters of an `AdamW` in flat buffers, with the parameters as views.

    The parameters and the optimizer's state become views with the same names, shapes and values, so
    `state_dict` of model and optimizer stay the same. Later loading must copy in place, or be
    followed by a new `FlatAdamW` (see `is_current`).

    A gradient that is not finite makes no update: weights, averages and count stay unchanged, and
    `is_sound` is false until the next one.

    Args:
        optimizer: its parameters are float32, on one device, and have all been updated equally
            often; their `.grad` is not used.
        copy_dtype: keep a copy of all parameters in this dtype, renewed by each update; None: none.
        compiled: whether torch.compile fuses each update into one kernel per group.

    Raises:
        ValueError: parameters of another dtype, on several devices, or updated unequally often.
    """

    def __init__(
        self, optimizer: AdamW, *, copy_dtype: torch.dtype | None = None, compiled: bool = False
    ) -> None:
        groups = [group["params"] for group in optimizer.param_groups]
        self.parameters: list[torch.nn.Parameter] = [one for group in groups for one in group]
        age = _common_age(optimizer, self.parameters)
        self._optimizer = optimizer
        self._places, self._slices = _lay_out(groups)
        size = self._slices[-1].stop
        device = self.parameters[0].device
        self.values, self.gradient, self._means, self._squares = (
            torch.zeros(size, dtype=torch.float32, device=device) for _ in range(4)
        )
        self.copy = None if copy_dtype is None else torch.zeros_like(self.values, dtype=copy_dtype)
        self.learning_rate = torch.zeros((), dtype=torch.float64, device=device)
        """Learning rate of the next update; the caller fills it."""
        self.is_sound = torch.ones((), dtype=torch.bool, device=device)
        """Whether the last gradient was finite."""
        count = len(self.parameters)
        self._ages = torch.full((count,), age, dtype=torch.float32, device=device)
        self._gradients = [self._view(self.gradient, i) for i in range(count)]
        self._adopt()
        self._addresses = [parameter.data_ptr() for parameter in self.parameters]
        self._measure, self._advance = _measure, _advance
        if compiled:
            self._measure = torch.compile(_measure, fullgraph=True, dynamic=False)
            self._advance = torch.compile(_advance, fullgraph=True, dynamic=False)

    def is_current(self) -> bool:
        """Return whether parameters and state are still the views that updates change."""
        state = self._optimizer.state
        return all(
            parameter.data_ptr() == address and state[parameter].get("exp_avg") is mean
            for parameter, address, mean in zip(
                self.parameters, self._addresses, self._mean_views, strict=True
            )
        )

    def copy_of(self, parameter: torch.nn.Parameter) -> Float[Tensor, "..."]:
        """Return the view of the copy that belongs to a parameter."""
        assert self.copy is not None
        index = next(i for i, one in enumerate(self.parameters) if one is parameter)
        return self._view(self.copy, index)

    @torch.no_grad()
    def collect(self, gradients: Sequence[Tensor], *, add: bool = False) -> None:
        """Collect the gradients of all `parameters`, in order, or add to those collected."""
        # Lists of one dtype take a few launches, mixed lists one launch per parameter.
        for dtype in {one.dtype for one in gradients}:
            pairs = zip(self._gradients, gradients, strict=True)
            own, new = zip(*((a, b) for a, b in pairs if b.dtype == dtype), strict=True)
            if add:
                torch._foreach_add_(own, [one.float() for one in new])  # pyright: ignore[reportPrivateImportUsage]
            else:
                torch._foreach_copy_(own, new)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def update(self, max_norm: float) -> Float[Tensor, ""]:
        """Clip the collected gradient to `max_norm` (infinity: never), and update.

        Returns:
            () float32; the norm before clipping.
        """
        groups = self._optimizer.param_groups
        decays = [group["weight_decay"] for group in groups]
        betas = [group["betas"] for group in groups]
        norm, factor, scalars = self._measure(
            self.gradient, self.is_sound, self._ages, self.learning_rate, max_norm, betas, decays
        )
        for group, part, own in zip(groups, self._slices, scalars, strict=True):
            beta1, beta2 = group["betas"]
            self._advance(
                self.values[part],
                self.gradient[part],
                self._means[part],
                self._squares[part],
                None if self.copy is None else self.copy[part],
                torch.cat((factor[None], own)),
                self.is_sound,
                beta1=beta1,
                beta2=beta2,
                eps=group["eps"],
            )
        return norm

    def _adopt(self) -> None:
        """Move values and state into the buffers, and replace them by views."""
        self._mean_views = [self._view(self._means, i) for i in range(len(self.parameters))]
        for i, parameter in enumerate(self.parameters):
            state: dict[str, Any] = self._optimizer.state[parameter]
            views = {"exp_avg": self._mean_views[i], "exp_avg_sq": self._view(self._squares, i)}
            for name, view in views.items():
                if name in state:
                    view.copy_(state[name])
            # One tensor per parameter, because an AdamW that loads them counts each separately.
            state.update({"step": self._ages[i], **views})
            value = self._view(self.values, i)
            value.copy_(parameter.detach())
            parameter.data = value
        if self.copy is not None:
            self.copy.copy_(self.values)

    def _view(self, flat: Tensor, index: int) -> Tensor:
        parameter, start = self.parameters[index], self._places[index]
        return flat[start : start + parameter.numel()].view(parameter.shape)


def _common_age(optimizer: AdamW, parameters: Sequence[torch.nn.Parameter]) -> float:
    """Return how often all were updated, after checking that one buffer can hold them."""
    kinds = {(one.dtype, one.device) for one in parameters}
    if len(kinds) > 1 or parameters[0].dtype != torch.float32:
        raise ValueError(
            f"parameters are of {sorted(map(str, kinds))}, but one float32 buffer holds all; "
            "convert them, or use AdamW"
        )
    ages = {float(optimizer.state[one].get("step", 0.0)) for one in parameters}
    if len(ages) > 1:
        raise ValueError(
            f"parameters were updated {sorted(ages)} times, but flat buffers count once for all; "
            "use AdamW"
        )
    return ages.pop()


def _lay_out(groups: Sequence[Sequence[Tensor]]) -> tuple[list[int], list[slice]]:
    places, slices, end = [], [], 0
    for group in groups:
        start = end
        for parameter in group:
            places.append(end)
            end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
        slices.append(slice(start, end))
    return places, slices


def _measure(
    gradient: Tensor,
    is_sound: Tensor,
    ages: Tensor,
    learning_rate: Tensor,
    max_norm: float,
    betas: Sequence[tuple[float, float]],
    decays: Sequence[float],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Count the update; return norm, clipping factor and each group's scalars.

    The scalars are the factors of the value, the step and the root in `_advance`. They are computed
    once, in float64, because 1 - beta^t loses most of its digits in float32.
    """
    norm = torch.linalg.vector_norm(gradient)
    is_sound.copy_(torch.isfinite(norm))
    ages.add_(is_sound.to(ages.dtype))
    factor = (max_norm / (norm + EPS)).clamp(max=1.0)
    age = ages[0].double()
    scalars = []
    for (beta1, beta2), decay in zip(betas, decays, strict=True):
        own = (
            1 - learning_rate * decay,
            learning_rate / (1 - beta1**age),
            (1 - beta2**age).rsqrt(),
        )
        scalars.append(torch.stack(own).float())
    return norm, factor, scalars


def _advance(
    value: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    copy: Tensor | None,
    scalars: Tensor,
    is_sound: Tensor,
    *,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Update one group in place, elementwise throughout, so that a compiler makes it one kernel.

    `value`, `mean` (of the gradient), `square` (mean of its square) and the narrow `copy`, if any,
    are (n,) and updated. `gradient` is (n,), before clipping. `scalars` are (4,) factors of the
    gradient, the value, the step and the root; `is_sound` is (), whether to update at all.
    """
    clip, keep, rate, correction = scalars.unbind()
    clipped = gradient * clip
    new_mean = torch.lerp(mean, clipped, 1 - beta1)
    new_square = square * beta2 + clipped * clipped * (1 - beta2)
    moved = value * keep - rate * (new_mean / (new_square.sqrt() * correction + eps))
    new_value = torch.where(is_sound, moved, value)
    mean.copy_(torch.where(is_sound, new_mean, mean))
    square.copy_(torch.where(is_sound, new_square, square))
    value.copy_(new_value)
    if copy is not None:
        copy.copy_(new_value)
