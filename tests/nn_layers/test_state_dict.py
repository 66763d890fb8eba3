"""Weights load under every spelling: one matrix per projection or stacked, wrapped or plain."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nn_layers import ModelConfig, TransformerLM
from nn_layers.state_dict import plain_names

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


WRAPPERS: dict[str, Callable[[TransformerLM], nn.Module]] = {
    "compiled": torch.compile,
    "parallel": nn.DataParallel,
    "parallel and compiled": lambda model: torch.compile(nn.DataParallel(model)),
    "compiled and parallel": lambda model: nn.DataParallel(torch.compile(model)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_weights_of_a_wrapped_model_load_into_a_plain_one(
    wrap: Callable[[TransformerLM], nn.Module],
) -> None:
    config = ModelConfig(10, 8, 16, 2, 2, 32)
    saved, ours = TransformerLM(config), TransformerLM(config)
    state = wrap(saved).state_dict()
    assert not state.keys() & ours.state_dict().keys()
    ours.load_state_dict(state)
    assert all(map(torch.equal, ours.state_dict().values(), saved.state_dict().values()))


@pytest.mark.parametrize("name", ["plain", "compiled blocks"])
def test_weights_of_compiled_blocks_load_and_so_do_those_for_them(name: str) -> None:
    config = ModelConfig(10, 8, 16, 2, 2, 32)
    saved, ours = TransformerLM(config), TransformerLM(config)
    compiled = saved if name == "plain" else ours
    compiled.layers[1] = torch.compile(compiled.layers[1])
    ours.load_state_dict(saved.state_dict())
    assert all(map(torch.equal, ours.state_dict().values(), saved.state_dict().values()))


def test_stacked_weights_of_a_wrapped_model_load() -> None:
    model = TransformerLM(ModelConfig(10, 8, 16, 1, 2, 32))
    state = {name: weight.clone() for name, weight in model.state_dict().items()}
    parts = [state.pop(f"layers.0.attn.{name}_proj.weight") for name in "qkv"]
    state["layers.0.attn.qkv_proj.weight"] = torch.cat(parts) + 1
    model.load_state_dict({f"module._orig_mod.{name}": value for name, value in state.items()})
    assert torch.equal(model.layers[0].attn.k_proj.weight, parts[1] + 1)


def test_names_that_only_a_wrapper_keeps_apart_stay_apart() -> None:
    names = ["a._orig_mod.weight", "a.weight"]
    assert plain_names(names) == dict(zip(names, names, strict=True))


def test_a_name_that_no_wrapper_has_changes_nothing_for_the_others() -> None:
    saved, ours = (TransformerLM(ModelConfig(10, 8, 16, 1, 2, 32)) for _ in range(2))
    state = {f"module.{name}": weight for name, weight in saved.state_dict().items()}
    left = ours.load_state_dict(state | {"epoch": torch.tensor(1)}, strict=False)
    assert (left.missing_keys, left.unexpected_keys) == ([], ["epoch"])
    assert all(map(torch.equal, ours.state_dict().values(), saved.state_dict().values()))
