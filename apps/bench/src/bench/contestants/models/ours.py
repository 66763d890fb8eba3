"""This repository's trainer: its model, its optimizer and its step, as a run takes it."""

import sys
from pathlib import Path

import torch

from bench.contestants.models.baseline import Step
from bench.recipe import VOCAB_SIZE, Recipe, reference_flops_per_token
from nn_layers import TransformerLM
from trainer.learning_rate import learning_rate
from trainer.model import build_model
from trainer.step import build_optimizer, training_step


def build(recipe: Recipe) -> TransformerLM:
    """Return a freshly initialised model."""
    return build_model(recipe.config, vocab_size=VOCAB_SIZE, device=recipe.device)


def stepper(recipe: Recipe) -> Step:
    """Return what takes one optimizer step."""
    model = build(recipe).train()
    optimizer = build_optimizer(model, recipe.config.optimizer)

    def step(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        result = training_step(
            model,
            optimizer,
            config=recipe.config,
            tokens=recipe.tokens,
            step=number,
            learning_rate=learning_rate(recipe.config, number),
            device=recipe.device,
            dtype=recipe.dtype,
        )
        return result.loss, result.grad_norm

    return step


def flops_per_token(recipe: Recipe) -> int:
    """Return FLOPs a token of forward and backward: 6 N_matmul + causal attention."""
    return reference_flops_per_token()


def command(*, run_dir: Path, cache_dir: Path, device: str, num_steps: int) -> list[str]:
    """Return the trainer's command for a whole run on the standard library's source."""
    options = {
        "corpus.source": "stdlib",
        "corpus.cache-dir": cache_dir,
        "evaluation.every-steps": 500,
        "checkpoint.every-steps": num_steps,
        "training.max-steps": num_steps,
        "device": device,
        "run-dir": run_dir,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-c", "from trainer.cli import train; train()", "tinystories", *words]
