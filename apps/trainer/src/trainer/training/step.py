"""Take one optimizer step: forward, backward, clip, update.

Stage: batches -> *step* -> loss and gradient norm, left on the device so that nobody waits. A
`Stepper` is built once a run and owns all that a step needs; other ways to step (a captured graph,
say) are other classes with the same method.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from nn_layers import TransformerLM
from optim import AdamW, clip_gradients_
from trainer.config.run_config import RunConfig
from trainer.data.batches import sample_batch
from trainer.data.device_batches import choose_windows
from trainer.monitoring.throughput import Throughput
from trainer.plan.compute import ComputePlan
from trainer.plan.learning_rate import set_learning_rate
from trainer.training.device_step import DeviceStepper
from trainer.training.model_loss import LossOf, build_loss
from trainer.training.step_result import StepResult

Windows = Callable[[int, range], tuple[Tensor, Tensor]]
"""(step counted from 1, indices of windows) -> inputs and targets, (b, t) int64 on the device."""


class Stepper(Protocol):
    """Makes one update after another; built once a run."""

    def step(self, step: int, learning_rate: float) -> StepResult:
        """Update the model on the windows of `step`, counted from 1.

        Where the loss or the gradient is not finite, weights and optimizer stay as they are.
        """
        ...


def build_stepper(
    model: TransformerLM,
    optimizer: torch.optim.Optimizer,
    *,
    config: RunConfig,
    tokens: np.ndarray,
    device: torch.device,
    plan: ComputePlan,
    throughput: Throughput | None = None,
) -> Stepper:
    """Return what makes the updates of a run.

    Args:
        model: on `device`; its weights may be loaded later, in place.
        optimizer: over the model's parameters.
        config: the run; batch, window and clipping come from it.
        tokens: (n,) token ids to draw windows from.
        device: where to compute.
        plan: how to compute.
        throughput: where the time spent on data is booked; None: nowhere.
    """
    if device.type == "cuda" and config.optimizer.section.fits_graph:
        adamw = cast("AdamW", optimizer)
        return _device_stepper(model, adamw, config=config, tokens=tokens, device=device, plan=plan)
    windows = host_windows(tokens, config=config, device=device, throughput=throughput)
    loss_of = build_loss(model, plan=plan, device=device)
    return EagerStepper(model, optimizer, config=config, windows=windows, loss_of=loss_of)


def _device_stepper(
    model: TransformerLM,
    optimizer: AdamW,
    *,
    config: RunConfig,
    tokens: np.ndarray,
    device: torch.device,
    plan: ComputePlan,
) -> DeviceStepper:
    windows = choose_windows(
        tokens,
        seed=config.seed,
        context_length=config.model.context_length,
        max_windows=config.training.batch_size,
        device=device,
    )
    limit = config.optimizer.max_grad_norm
    return DeviceStepper(
        model,
        optimizer,
        windows=windows,
        micro_batches=lambda step: list(micro_batches(config, step)),
        plan=plan,
        max_norm=float("inf") if limit is None else limit,
    )


def host_windows(
    tokens: np.ndarray,
    *,
    config: RunConfig,
    device: torch.device,
    throughput: Throughput | None = None,
) -> Windows:
    """Return windows cut on the host, micro-batch by micro-batch, and moved to the device."""

    def cut(step: int, indices: range) -> tuple[Tensor, Tensor]:
        with nullcontext() if throughput is None else throughput.booked("data"):
            return sample_batch(
                tokens,
                seed=config.seed,
                step=step - 1,
                indices=indices,
                context_length=config.model.context_length,
                device=device,
            )

    return cut


class EagerStepper:
    """Runs micro-batch after micro-batch, then clips, then updates.

    Args:
        model: in training mode.
        optimizer: over the model's parameters.
        config: the run.
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
        self._parameters = list(model.parameters())
        self._optimizer = optimizer
        self._windows, self._loss_of = windows, loss_of
        self._micro_batches = partial(micro_batches, config)
        limit = config.optimizer.max_grad_norm
        self._max_norm = float("inf") if limit is None else limit

    def step(self, step: int, learning_rate: float) -> StepResult:
        """Update the model on the windows of `step`, counted from 1, if all is finite."""
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), dtype=torch.float32, device=self._parameters[0].device)
        batches = list(self._micro_batches(step))
        num_windows = sum(map(len, batches))
        for indices in batches:
            loss = self._loss_of(*self._windows(step, indices))
            # Each micro-batch weighs by its windows: the sum is the mean over the whole batch.
            share = loss * (len(indices) / num_windows)
            share.backward()
            total += share.detach()
        norm = clip_gradients_(self._parameters, self._max_norm)
        set_learning_rate(self._optimizer, learning_rate)
        result = StepResult(total, norm)
        if result.is_sound:  # waits for the device, where there is one
            self._optimizer.step()
        return result


def micro_batches(config: RunConfig, step: int) -> Iterator[range]:
    """Cut the batch of `step` into ranges of window indices."""
    batch_size = config.batch_size_at(step)
    size = min(config.training.micro_batch_size or batch_size, batch_size)
    return (range(first, min(first + size, batch_size)) for first in range(0, batch_size, size))
