"""Translate how a run computes its steps into `accounting`'s settings.

Stage: configuration, plan -> *settings* -> memory, FLOPs. Backends and optimizers describe what
they keep and compute, so a new one needs nothing here. Not here: the model's shape (`shape.py`).
"""

import torch

from accounting import StepSettings
from nn_layers.backends.choice import attention_backends, loss_backends
from trainer.config.run_config import RunConfig
from trainer.plan.compute import ComputePlan


def step_settings(config: RunConfig, plan: ComputePlan) -> StepSettings:
    """Return how the run's steps are computed."""
    training = config.training
    micro = training.micro_batch_size or training.batch_size
    keeps = attention_backends()[plan.attention].keeps
    known = {"attention": keeps} if isinstance(keeps, str) else {"attention_keeps": keeps}
    return StepSettings(
        **known,
        batch_size=micro,
        num_micro_batches=training.batch_size // micro,
        dtype="float32" if plan.dtype == torch.float32 else "bfloat16",
        loss=loss_backends()[plan.loss].keeps,
        checkpointing=training.activation_checkpointing,
        optimizer=config.optimizer.section.cost,
    )
