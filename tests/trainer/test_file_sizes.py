"""The files of a checkpoint, against files that were really written."""

import dataclasses
from pathlib import Path

import pytest
import torch

from trainer.checkpoint.run_checkpoint import take_snapshot, write_checkpoint
from trainer.config.presets import load_preset
from trainer.plan.file_sizes import model_file_bytes, optimizer_file_bytes, saved_groups
from trainer.plan.model import build_model
from trainer.plan.shape import model_shape


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
    rate = config.optimizer.learning_rate
    groups = saved_groups(shape, model, optimizer, learning_rate=rate)
    assert written == {
        "model.safetensors": model_file_bytes(shape),
        "optimizer.safetensors": optimizer_file_bytes(groups, config.optimizer.section.cost),
    }
