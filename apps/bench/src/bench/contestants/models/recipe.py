"""Describe what every contestant trains, on which tokens, and in which way.

Stage: a sample's arguments -> *recipe* -> contestants. Sizes, optimizer and schedule are those of
the trainer's preset for CS336's reference model; only the way to compute differs.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from accounting import training_flops
from trainer.config.presets import load_preset
from trainer.config.run_config import RunConfig
from trainer.plan.shape import model_shape

PRESET = "tinystories-cpu"
VOCAB_SIZE = 10_000
PROMPT = tuple(range(300, 316))
"""Ids that every contestant continues; an untrained model is indifferent to the text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One way to train the reference model."""

    config: RunConfig
    """Sizes, optimizer, schedule, batch and micro-batch."""
    tokens: np.ndarray
    """(n,) token ids to train on."""
    device: torch.device
    dtype: torch.dtype
    """Dtype of the matrix products; weights are float32."""
    compile: str
    """Baselines: "off", or a mode of torch.compile; ours: `training.compile`."""


def read_recipe(
    tokens: str, *, device: str, dtype: str, batch_size: int, micro_batch_size: int, compile: str
) -> Recipe:
    """Return the recipe that the arguments of a sample describe; `tokens` is a .npy file of ids."""
    preset = load_preset(PRESET)
    training = dataclasses.replace(
        preset.training,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        compile=compile if compile in ("auto", "on") else "off",
    )
    return Recipe(
        config=dataclasses.replace(preset, training=training, device=device, dtype=dtype),
        tokens=np.load(Path(tokens), mmap_mode="r", allow_pickle=False),
        device=torch.device(device),
        dtype=getattr(torch, dtype),
        compile=compile,
    )


def reference_config(cache_dir: Path) -> RunConfig:
    """Return the preset with the standard library's source instead of a download."""
    preset = load_preset(PRESET)
    corpus = dataclasses.replace(preset.corpus, source="stdlib", cache_dir=cache_dir)
    return dataclasses.replace(preset, corpus=corpus)


def flops_per_token(recipe: Recipe) -> int:
    """Return FLOPs per token of forward and backward: 6 N_matmul + causal attention."""
    return training_flops(model_shape(recipe.config, vocab_size=VOCAB_SIZE), num_tokens=1)
