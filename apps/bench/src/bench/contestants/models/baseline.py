"""Build the training step of the baselines, with everything that makes it fast in plain torch.

It uses fused AdamW, one update per batch, summed gradients of micro-batches, and our clipping and
schedule. Windows are the same integers as ours, so losses can be compared.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contestants.models.recipe import Recipe
from trainer.data.batches import sample_batch
from trainer.plan.learning_rate import learning_rate

Step = Callable[[int], tuple[Tensor, Tensor]]
"""From the number of a step, counted from 1, to loss and gradient norm, on the device."""


def build_step(model: nn.Module, forward: Callable[[Tensor], Tensor], recipe: Recipe) -> Step:
    """Return a function that takes one optimizer step.

    `forward` maps (b, t) ids to (b, t, v) logits; it is compiled here if the recipe asks for it.
    """
    config = recipe.config
    batch_size = config.training.batch_size
    size = config.training.micro_batch_size or batch_size
    optimizer = _build_optimizer(model, recipe)
    max_norm = config.optimizer.max_grad_norm
    max_norm = math.inf if max_norm is None else max_norm

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(forward(inputs).flatten(0, 1), targets.flatten())

    if recipe.compile != "off":
        loss_of = torch.compile(loss_of, dynamic=False, mode=recipe.compile)

    def step(number: int) -> tuple[Tensor, Tensor]:
        total = torch.zeros((), device=recipe.device)
        for first in range(0, batch_size, size):
            inputs, targets = sample_batch(
                recipe.tokens,
                seed=config.seed,
                step=number - 1,
                indices=range(first, first + size),
                context_length=config.model.context_length,
                device=recipe.device,
            )
            is_narrow = recipe.dtype != torch.float32
            with torch.autocast(recipe.device.type, dtype=torch.bfloat16, enabled=is_narrow):
                loss = loss_of(inputs, targets) * (size / batch_size)
            loss.backward()
            total += loss.detach()
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, number)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total, norm

    return step


def _build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    section = recipe.config.optimizer
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": section.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    own = section.adamw
    return torch.optim.AdamW(
        groups, lr=section.learning_rate, betas=(own.beta1, own.beta2), eps=own.eps, fused=True
    )
