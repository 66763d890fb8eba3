"""Bytes on disk, against files that were really written."""

import dataclasses
from pathlib import Path

import pytest
import torch

from accounting.disk import (
    default_groups,
    model_file_bytes,
    optimizer_file_bytes,
    token_file_bytes,
)
from tokenizer import Tokenizer
from trainer.checkpoint.run_checkpoint import take_snapshot, write_checkpoint
from trainer.config.presets import load_preset
from trainer.plan.model import build_model, model_shape


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_a_checkpoints_tensors_take_what_is_said(name: str, is_tied: bool, tmp_path: Path) -> None:
    config = load_preset("quickstart")
    small = {"num_layers": 11, "d_model": 24, "d_ff": 10, "tie_embeddings": is_tied}
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **small),
        optimizer=dataclasses.replace(config.optimizer, name=name),
    )
    model = build_model(config, vocab_size=300, device=torch.device("cpu"))
    optimizer = config.optimizer.build(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    snapshot = take_snapshot(step=1, model=model, optimizer=optimizer, state={}, config_toml="")
    where = write_checkpoint(tmp_path, snapshot)
    written = {path.name: path.stat().st_size for path in where.glob("*.safetensors")}
    shape = model_shape(config, vocab_size=300)
    groups = default_groups(shape, name, learning_rate=config.optimizer.learning_rate)
    assert written == {
        "model.safetensors": model_file_bytes(shape),
        "optimizer.safetensors": optimizer_file_bytes(groups, name),
    }


def test_a_token_file_takes_what_is_said(tmp_path: Path) -> None:
    text = "one<|endoftext|>two<|endoftext|>three"
    (tmp_path / "text.txt").write_text(text)
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], ["<|endoftext|>"])
    file = tokenizer.encode_file(tmp_path / "text.txt", tmp_path / "ids.npy")
    written = sum(path.stat().st_size for path in tmp_path.glob("ids.*"))
    assert written == token_file_bytes(
        num_tokens=len(file),
        vocab_size=257,
        num_documents=3,
        num_bytes=len(text),
        end_of_text_id=256,
        sources=["text.txt"],
    )
