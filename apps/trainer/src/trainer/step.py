"""Take one optimizer step: forward, backward, clip, update.

Stage: batches -> *step* -> loss and gradient norm, left on the device so that nobody waits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nn_layers import TransformerLM, cross_entropy
from optim import SGD, AdamW, clip_gradients_, parameter_groups
from trainer.batches import sample_batch
from trainer.config import OptimizerConfig, RunConfig
from trainer.devices import autocast


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step leaves on the device; reading a value waits for the step to end."""

    loss: Tensor
    """() float32; mean nats a token over the whole batch, before the update."""
    grad_norm: Tensor
    """() float32; global norm before clipping."""


def build_optimizer(model: TransformerLM, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimizer of `config` over the model's parameters, norm gains undecayed."""
    groups = parameter_groups(model, weight_decay=config.weight_decay)
    if config.name == "sgd":
        return SGD(groups, lr=config.learning_rate)
    return AdamW(
        groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.eps
    )


def training_step(
    model: TransformerLM,
    optimizer: torch.optim.Optimizer,
    *,
    config: RunConfig,
    tokens: np.ndarray,
    step: int,
    learning_rate: float,
    device: torch.device,
    dtype: torch.dtype,
) -> StepResult:
    """Update the model on the windows of `step`, one micro-batch after another.

    Args:
        model: in training mode, on `device`.
        optimizer: over the model's parameters.
        config: the run; batch, window and clipping come from it.
        tokens: (n,) token ids to draw windows from.
        step: decides, with the seed, which windows; counted from 1.
        learning_rate: of this update.
        device: where to compute.
        dtype: compute type.

    Returns:
        Mean loss over the whole batch and the gradient's norm, on the device.
    """
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=device)
    for indices in _micro_batches(config):
        inputs, targets = sample_batch(
            tokens,
            seed=config.seed,
            step=step - 1,
            indices=indices,
            context_length=config.model.context_length,
            device=device,
        )
        with autocast(device, dtype):
            loss = cross_entropy(model(inputs), targets)
        # Each micro-batch weighs by its windows: the sum is the mean over the whole batch.
        share = loss * (len(indices) / config.training.batch_size)
        share.backward()
        total += share.detach()
    max_norm = config.optimizer.max_grad_norm
    norm = clip_gradients_(model.parameters(), float("inf") if max_norm is None else max_norm)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    return StepResult(total, norm)


def _micro_batches(config: RunConfig) -> Iterator[range]:
    batch_size = config.training.batch_size
    size = config.training.micro_batch_size or batch_size
    return (range(first, first + size) for first in range(0, batch_size, size))
