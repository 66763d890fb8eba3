"""Weights load under both spellings: a matrix a projection, or stacked in one."""

import pytest
import torch
from torch import Tensor

from nn_layers import ModelConfig, TransformerLM

CONFIG = ModelConfig(31, 12, 16, 2, 4, 24, num_kv_heads=2)
STACKS = {"attn.qkv_proj": ("q_proj", "k_proj", "v_proj"), "ffn.w13": ("w1", "w3")}


def _stacked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Spell a state dict with one matrix for q, k, v and one for gate and up."""
    state = dict(state)
    for layer in range(CONFIG.num_layers):
        for name, parts in STACKS.items():
            prefix, _, _ = name.partition(".")
            names = [f"layers.{layer}.{prefix}.{part}.weight" for part in parts]
            stacked = torch.cat([state.pop(part) for part in names])
            state[f"layers.{layer}.{name}.weight"] = stacked
    return state


def test_both_spellings_load_the_same_weights() -> None:
    model, copy = TransformerLM(CONFIG), TransformerLM(CONFIG)
    stacked = _stacked(model.state_dict())
    names = set(stacked)
    copy.load_state_dict(stacked)
    assert set(stacked) == names  # the caller's is left alone
    for (name, ours), theirs in zip(
        copy.state_dict().items(), model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_of_another_size_is_refused(name: str) -> None:
    stacked = _stacked(TransformerLM(CONFIG).state_dict())
    stacked[f"layers.1.{name}.weight"] = torch.zeros(5, 16)
    with pytest.raises(ValueError, match=rf"layers.1.{name}.weight has 5 rows"):
        TransformerLM(CONFIG).load_state_dict(stacked)
