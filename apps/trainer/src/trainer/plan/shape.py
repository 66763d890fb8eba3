"""Translate a run's configuration into `accounting`'s terms.

Stage: configuration, plan -> *shape, step* -> every account. The only module that knows both
vocabularies, beside the files (`file_sizes.py`). Not here: what the accounts say (`estimate.py`).
"""

import dataclasses

import torch

from accounting import ModelShape, StepSettings
from nn_layers.backends.choice import attention_backends, loss_backends
from trainer.config.run_config import RunConfig
from trainer.plan.compute import ComputePlan


def model_shape(config: RunConfig, *, vocab_size: int) -> ModelShape:
    """Return the model's shape for a tokenizer of `vocab_size` ids."""
    names = {spec.name for spec in dataclasses.fields(ModelShape)}
    section = dataclasses.asdict(config.model)
    shared = {name: value for name, value in section.items() if name in names}
    return ModelShape(vocab_size=vocab_size, **shared)


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
