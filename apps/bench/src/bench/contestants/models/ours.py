"""Train with this repository's trainer: its model, its optimizer and its step, as in a run."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from bench.contestants.models.baseline import Step
from bench.contestants.models.recipe import PRESET, PROMPT, VOCAB_SIZE, Recipe
from nn_layers import TransformerLM
from trainer.config.presets import load_preset
from trainer.inference.generation import generate
from trainer.plan.compute import plan_compute
from trainer.plan.learning_rate import learning_rate
from trainer.plan.model import build_model
from trainer.training.learner import build_stepper


def build(recipe: Recipe) -> TransformerLM:
    """Return a newly initialised model that computes as the trainer plans."""
    plan = plan_compute(recipe.config, device=recipe.device)
    how = {"vocab_size": VOCAB_SIZE, "device": recipe.device, "attention": plan.attention}
    return build_model(recipe.config, **how)


def stepper(recipe: Recipe) -> Step:
    """Return a function that takes one optimizer step."""
    model = build(recipe).train()
    stepper = build_stepper(
        model,
        recipe.config.optimizer.build(model),
        config=recipe.config,
        tokens=recipe.tokens,
        device=recipe.device,
        plan=plan_compute(recipe.config, device=recipe.device),
    )

    def step(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        result = stepper.step(number, learning_rate(recipe.config, number))
        return result.loss, result.grad_norm

    return step


def generator(weights: str) -> Callable[[int], int]:
    """Return a function that continues a prompt by a number of tokens and counts them."""
    config = load_preset(PRESET)
    model = build_model(config, vocab_size=VOCAB_SIZE, device=torch.device("cpu")).eval()
    how = {"end_of_text_id": VOCAB_SIZE - 1, "temperature": 0, "weights": weights, "compile": "on"}
    return lambda number: sum(1 for _ in generate(model, PROMPT, max_tokens=number, **how))


def command(*, run_dir: Path, cache_dir: Path, device: str, num_steps: int) -> list[str]:
    """Return the trainer's command for a full run on the standard library's source."""
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
    code = "from trainer.cli.commands import train; train()"
    return [sys.executable, "-c", code, "tinystories", *words]
