"""Take one optimizer step: forward, backward, clip, update.

Stage: batches -> *step* -> loss and gradient norm, left on the device so that nothing waits. Not
here: other ways to step with the same method (`device_step.py`), and which one runs (`learner.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from nn_layers import TransformerLM
from optim import clip_gradients_
from trainer.config.run_config import RunConfig
from trainer.data.batches import sample_batch
from trainer.plan.learning_rate import set_learning_rate
from trainer.training.model_loss import LossOf

Windows = Callable[[int, range], tuple[Tensor, Tensor]]
"""(step counted from 1, indices of windows) -> inputs and targets, (b, t) int64 on the device."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step leaves on the device; reading a value waits for the step to end."""

    loss: Tensor
    """() float32; mean nats per token over the whole batch, before the update."""
    grad_norm: Tensor
    """() float32; global norm before clipping."""

    @property
    def is_sound(self) -> Tensor:
        """Whether both are finite, so that an update may be made: () bool."""
        return torch.isfinite(self.loss) & torch.isfinite(self.grad_norm)


class Stepper(Protocol):
    """Makes one update after another; built once per run."""

    def step(self, step: int, learning_rate: float) -> StepResult:
        """Update the model on the windows of `step`, counted from 1, if loss and norm are sound."""
        ...


class EagerStepper:
    """Runs micro-batch after micro-batch, then clips, then updates.

    Args:
        model: in training mode.
        optimizer: over the model's parameters.
        config: the run; batch size and clipping come from it.
        windows: what to train on.
        loss_of: what to minimise.
    """

    def __init__(
        self,
        model: TransformerLM,
        optimizer: torch.optim.Optimizer,
        *,
        config: RunConfig,
        windows: Windows,
        loss_of: LossOf,
    ) -> None:
        self._parameters, self._optimizer = list(model.parameters()), optimizer
        self._config, self._windows, self._loss_of = config, windows, loss_of

    def step(self, step: int, learning_rate: float) -> StepResult:
        """Update the model on the windows of `step`, counted from 1, if loss and norm are sound."""
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), dtype=torch.float32, device=self._parameters[0].device)
        num_windows = self._config.batch_size_at(step)
        for indices in micro_batches(self._config, step):
            loss = self._loss_of(*self._windows(step, indices))
            # Each micro-batch weighs by its windows: the sum is the mean over the whole batch.
            share = loss * (len(indices) / num_windows)
            share.backward()
            total += share.detach()
        norm = clip_gradients_(self._parameters, max_norm(self._config))
        set_learning_rate(self._optimizer, learning_rate)
        result = StepResult(total, norm)
        if result.is_sound:
            self._optimizer.step()
        return result


def micro_batches(config: RunConfig, step: int) -> Iterator[range]:
    """Cut the batch of `step` into ranges of window indices."""
    batch_size = config.batch_size_at(step)
    size = min(config.training.micro_batch_size or batch_size, batch_size)
    return (range(first, min(first + size, batch_size)) for first in range(0, batch_size, size))


def host_windows(tokens: np.ndarray, *, config: RunConfig, device: torch.device) -> Windows:
    """Return windows that are cut from (n,) tokens, micro-batch by micro-batch."""

    def cut(step: int, indices: range) -> tuple[Tensor, Tensor]:
        return sample_batch(
            tokens,
            seed=config.seed,
            step=step - 1,
            indices=indices,
            context_length=config.model.context_length,
            device=device,
        )

    return cut


def max_norm(config: RunConfig) -> float:
    """Return the norm to which gradients are clipped; infinity: they are not."""
    limit = config.optimizer.max_grad_norm
    return float("inf") if limit is None else limit
