"""Build the model that a configuration describes."""

import dataclasses

import torch

from nn_layers import TransformerLM
from trainer.config.run_config import RunConfig


def build_model(
    config: RunConfig, *, vocab_size: int, device: torch.device, attention: str | None = None
) -> TransformerLM:
    """Return a freshly initialised model; its weights follow from the seed on every device.

    `attention` names another backend than the configuration.
    """
    shape = config.model.build(vocab_size=vocab_size)
    if attention is not None:
        shape = dataclasses.replace(shape, attention=attention)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # the CPU's, which is the one forked
        model = TransformerLM(shape, device="cpu", dtype=torch.float32)
    model.activation_checkpointing = config.training.activation_checkpointing
    return model.to(device)
