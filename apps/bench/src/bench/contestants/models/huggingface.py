"""Configure Hugging Face's `LlamaForCausalLM` to compute the same function as our reference model.

Its rotations pair the halves of a head, and ours pair neighbours, so converted weights have the
rows of queries and keys in another order. The function that needs it imports it, because doctests
read this module even if it is not installed.
"""

# pyright: reportMissingImports=false
# Peers come with an extra, and may not be there.

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor

from bench.contestants.models.baseline import Step, build_step
from bench.contestants.models.recipe import PRESET, PROMPT, VOCAB_SIZE, Recipe
from trainer.config.presets import load_preset
from trainer.config.run_config import ModelSection

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

_NAMES = {
    "ln1": "input_layernorm",
    "ln2": "post_attention_layernorm",
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
    "attn.output_proj": "self_attn.o_proj",
    "ffn.w1": "mlp.gate_proj",
    "ffn.w2": "mlp.down_proj",
    "ffn.w3": "mlp.up_proj",
}


def build(section: ModelSection, vocab_size: int) -> "LlamaForCausalLM":
    """Return a freshly initialised model of the same shape as ours."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=section.d_model,
        intermediate_size=section.d_ff,
        num_hidden_layers=section.num_layers,
        num_attention_heads=section.num_heads,
        num_key_value_heads=section.num_kv_heads or section.num_heads,
        max_position_embeddings=section.context_length,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": section.rope_theta},
        tie_word_embeddings=section.tie_embeddings,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config)


def carry_over(weights: Mapping[str, Tensor], section: ModelSection) -> dict[str, Tensor]:
    """Return our state dict with the names of `LlamaForCausalLM`."""
    named = {
        "model.embed_tokens.weight": weights["token_embeddings.weight"],
        "model.norm.weight": weights["ln_final.weight"],
        "lm_head.weight": weights["lm_head.weight"],
    }
    for layer in range(section.num_layers):
        for ours, theirs in _NAMES.items():
            weight = weights[f"layers.{layer}.{ours}.weight"]
            if ours in ("attn.q_proj", "attn.k_proj") and section.rope_layout == "adjacent":
                heads = section.num_heads if ours == "attn.q_proj" else section.num_kv_heads
                heads = heads or section.num_heads
                weight = rearrange(weight, "(h j r) d -> (h r j) d", h=heads, r=2)
            named[f"model.layers.{layer}.{theirs}.weight"] = weight
    return named


def stepper(recipe: Recipe, weights: Mapping[str, Tensor] | None = None) -> Step:
    """Return a function that takes one optimizer step, from our `weights` if given."""
    torch.manual_seed(recipe.config.seed)
    model = build(recipe.config.model, VOCAB_SIZE).to(recipe.device)
    if weights is not None:
        model.load_state_dict(carry_over(weights, recipe.config.model))
    model.train()

    def forward(ids: Tensor) -> Tensor:
        return model(input_ids=ids, use_cache=False).logits

    return build_step(model, forward, recipe)


def generator(weights: str) -> Callable[[int], int]:
    """Return a function that continues a prompt by a number of tokens and counts them."""
    torch.manual_seed(0)
    model = build(load_preset(PRESET).model, VOCAB_SIZE).to(getattr(torch, weights)).eval()
    ids = torch.tensor([PROMPT])
    how = {"do_sample": False, "attention_mask": torch.ones_like(ids)}

    def run(number: int) -> int:
        found = model.generate(ids, max_new_tokens=number, min_new_tokens=number, **how)
        return found.shape[1] - len(PROMPT)

    return run
