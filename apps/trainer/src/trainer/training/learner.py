"""Build what learns: a model, its optimizer, and what takes their steps.

Stage: configuration, plan, token file -> *learner* -> training loop. Not here: the steps
themselves (`step.py`, `device_step.py`).
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from accounting import training_flops
from nn_layers import TransformerLM
from optim import AdamW
from trainer.config.run_config import RunConfig
from trainer.data.device_batches import choose_windows
from trainer.data.preparation import PreparedData
from trainer.monitoring.throughput import Throughput
from trainer.plan.compute import ComputePlan
from trainer.plan.devices import resolve_device
from trainer.plan.model import build_model
from trainer.plan.shape import model_shape
from trainer.plan.tensor_memory import TensorWatch
from trainer.training.device_step import DeviceStepper
from trainer.training.model_loss import build_loss
from trainer.training.step import (
    EagerStepper,
    Stepper,
    StepResult,
    Windows,
    host_windows,
    max_norm,
    micro_batches,
)


@dataclass(slots=True)
class Learner:
    """A model, what updates it, and what measures that."""

    model: TransformerLM
    optimizer: torch.optim.Optimizer
    stepper: Stepper
    device: torch.device
    """Where all of them are."""
    plan: ComputePlan
    """How they compute."""
    throughput: Throughput
    watch: TensorWatch | None = None
    """Measures memory; None: nothing does."""

    def watch_memory(self, watch: TensorWatch, config: RunConfig) -> None:
        """Measure the tensors of a step and of evaluations."""
        self.watch = watch
        self.stepper = _WatchedStepper(self.stepper, watch, config)


def build_learner(config: RunConfig, plan: ComputePlan, data: PreparedData) -> Learner:
    """Return the model of a run with fresh weights, and what updates it on the run's data."""
    device = resolve_device(config.device)
    vocab_size = data.tokenizer.vocab_size
    flops = training_flops(model_shape(config, vocab_size=vocab_size), num_tokens=1)
    throughput = Throughput(flops_per_token=flops, device=device, dtype=plan.dtype)
    model = build_model(config, vocab_size=vocab_size, device=device, attention=plan.attention)
    optimizer = config.optimizer.build(model, dtype=plan.dtype)
    stepper = build_stepper(
        model,
        optimizer,
        config=config,
        tokens=data.train.tokens,
        device=device,
        plan=plan,
        throughput=throughput,
    )
    return Learner(model, optimizer, stepper, device, plan, throughput)


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
        throughput: measures the time spent on data; None: nothing does.
    """
    if device.type == "cuda" and config.optimizer.section.fits_graph:
        adamw = cast("AdamW", optimizer)
        return _device_stepper(model, adamw, config=config, tokens=tokens, device=device, plan=plan)
    windows = host_windows(tokens, config=config, device=device)
    if throughput is not None:
        windows = _booked(windows, throughput)
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
    return DeviceStepper(
        model,
        optimizer,
        windows=choose_windows(
            tokens,
            seed=config.seed,
            context_length=config.model.context_length,
            max_windows=config.training.batch_size,
            device=device,
        ),
        micro_batches=lambda step: list(micro_batches(config, step)),
        plan=plan,
        max_norm=max_norm(config),
    )


def _booked(windows: Windows, throughput: Throughput) -> Windows:
    def cut(step: int, indices: range) -> tuple[Tensor, Tensor]:
        with throughput.booked("data"):
            return windows(step, indices)

    return cut


class _WatchedStepper:
    """Takes the steps of another stepper while a watch measures them."""

    def __init__(self, stepper: Stepper, watch: TensorWatch, config: RunConfig) -> None:
        self._stepper, self._watch, self._config = stepper, watch, config

    def step(self, step: int, learning_rate: float) -> StepResult:
        is_full = self._config.batch_size_at(step) == self._config.training.batch_size
        with self._watch.step(is_full=is_full):
            return self._stepper.step(step, learning_rate)
