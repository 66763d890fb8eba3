"""Define a nanoGPT-style GPT-2 of the same depth and width as ours, written for this bench.

It has GELU with four times the width, learned positions, LayerNorm without bias, a head tied to the
embedding, one matrix for queries, keys and values, and torch's fused attention.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contestants.models.baseline import Step, build_step
from bench.contestants.models.recipe import VOCAB_SIZE, Recipe
from trainer.config.run_config import ModelSection


class _Block(nn.Module):
    def __init__(self, d_model: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(d_model, bias=False)
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.output = nn.Linear(d_model, d_model, bias=False)
        self.norm2 = nn.LayerNorm(d_model, bias=False)
        self.up = nn.Linear(d_model, 4 * d_model, bias=False)
        self.down = nn.Linear(4 * d_model, d_model, bias=False)
        for weight in (self.output.weight, self.down.weight):  # both write to the residual stream
            weight.data.normal_(0.0, 0.02 * (2 * num_layers) ** -0.5)
        for weight in (self.qkv.weight, self.up.weight):
            weight.data.normal_(0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(mixed.transpose(1, 2).flatten(-2))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """(b, t) ids to (b, t, v) logits.

    `section` gives depth, width, heads and context; the rest is GPT-2's.
    """

    def __init__(self, section: ModelSection, vocab_size: int) -> None:
        super().__init__()
        width = section.d_model
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(section.context_length, width)
        self.blocks = nn.ModuleList(
            _Block(width, section.num_heads, section.num_layers) for _ in range(section.num_layers)
        )
        self.norm = nn.LayerNorm(width, bias=False)
        for table in (self.tokens, self.positions):
            table.weight.data.normal_(0.0, 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of each next token."""
        x = self.tokens(ids) + self.positions.weight[: ids.shape[-1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.tokens.weight)


def stepper(recipe: Recipe) -> Step:
    """Return a function that takes one optimizer step."""
    torch.manual_seed(recipe.config.seed)
    model = GPT(recipe.config.model, VOCAB_SIZE).to(recipe.device)
    return build_step(model, model, recipe)


def flops_per_token(recipe: Recipe) -> int:
    """Return FLOPs per token of forward and backward: 6 N_matmul + causal attention."""
    section = recipe.config.model
    matrices = section.num_layers * 12 * section.d_model**2 + VOCAB_SIZE * section.d_model
    return 6 * matrices + 6 * section.num_layers * section.d_model * section.context_length
