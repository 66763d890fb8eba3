"""Build what learns: a model, its optimizer, and what takes their steps.

Stage: configuration, plan, token file -> *learner* -> training loop. Not here: the steps
themselves (`step.py`).
"""

from dataclasses import dataclass

import torch

from accounting import training_flops
from nn_layers import TransformerLM
from trainer.config.run_config import RunConfig
from trainer.data.preparation import PreparedData
from trainer.monitoring.throughput import Throughput
from trainer.plan.compute import ComputePlan
from trainer.plan.devices import resolve_device
from trainer.plan.model import build_model
from trainer.plan.shape import model_shape
from trainer.plan.tensor_memory import TensorWatch
from trainer.training.step import Stepper, build_stepper
from trainer.training.step_result import StepResult


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
        """Have the tensors of a step and of evaluations measured."""
        self.watch = watch
        self.stepper = _WatchedStepper(self.stepper, watch, config)


def build_learner(config: RunConfig, plan: ComputePlan, data: PreparedData) -> Learner:
    """Return the model of a run with fresh weights, and what updates it.

    Args:
        config: the run.
        plan: how it computes.
        data: what it trains on.
    """
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


class _WatchedStepper:
    """Takes the steps of another stepper while a watch looks on."""

    def __init__(self, stepper: Stepper, watch: TensorWatch, config: RunConfig) -> None:
        self._stepper, self._watch, self._config = stepper, watch, config

    def step(self, step: int, learning_rate: float) -> StepResult:
        is_full = self._config.batch_size_at(step) == self._config.training.batch_size
        with self._watch.step(is_full=is_full):
            return self._stepper.step(step, learning_rate)
