"""Accounting's questions about presets, configurations, checkpoints and runs."""

import dataclasses
import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import nn

from accounting import PRESETS, ModelShape, StepSettings, count_parameters, training_flops
from accounting.cli.commands import run_named_command
from accounting.hardware import find_device
from accounting.plan import Budget, propose
from accounting.sources.inputs import read_model
from accounting.sources.model import Model
from nn_layers import TransformerLM
from trainer.checkpoint.packing import pack_model
from trainer.checkpoint.run_checkpoint import take_snapshot, write_checkpoint
from trainer.checkpoint.single_file import save_checkpoint, to_safetensors
from trainer.config.presets import (
    config_from_toml,
    config_to_toml,
    load_preset,
    preset_names,
    with_values,
)
from trainer.config.run_config import ModelSection
from trainer.costs import TRAINER, plan_to_toml
from trainer.monitoring.metrics import MetricsLog
from trainer.plan.compute import plan_compute
from trainer.plan.model import build_model
from trainer.plan.shape import model_shape
from trainer.plan.step_settings import step_settings

LLAMA = {
    "model_type": "llama",
    "vocab_size": 40,
    "max_position_embeddings": 16,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
}


def read(source: Path | str) -> Model:
    return read_model(str(source), application=TRAINER)


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_known_by_name_and_by_file(name: str, tmp_path: Path) -> None:
    config = load_preset(name)
    shape = model_shape(config, vocab_size=config.tokenizer.vocab_size)
    (tmp_path / "config.toml").write_text(config_to_toml(config))
    for model in (read(name), read(tmp_path), read(tmp_path / "config.toml")):
        assert model.shape == shape
        assert model.training.batch_size == config.training.batch_size
        assert model.training.num_steps == config.training.max_steps


@pytest.mark.parametrize("name", [name for name in preset_names() if name in PRESETS])
def test_the_courses_models_are_those_of_the_presets_of_their_name(name: str) -> None:
    assert read(name).shape == PRESETS[name]


def test_every_field_of_the_model_is_accounted_for_or_costs_nothing() -> None:
    section = {spec.name for spec in fields(ModelSection)}
    without_cost = {"rope_theta", "attention"}
    assert section - {spec.name for spec in fields(ModelShape)} == without_cost


def test_steps_are_those_that_would_run_here_or_on_the_device_that_is_named() -> None:
    config = with_values(load_preset("quickstart"), {"device": "cpu"}, origin="test")
    here = plan_compute(config, device=torch.device("cpu"))
    settings = TRAINER.presets["quickstart"]().training.settings
    if not torch.cuda.is_available():
        assert settings(None) == step_settings(config, here)
    expected = StepSettings(batch_size=16, dtype="bfloat16", attention="native", loss="triton")
    expected = dataclasses.replace(expected, optimizer=config.optimizer.section.cost)
    assert settings(find_device("H200")) == expected


def test_a_configuration_beside_a_safetensors_file_completes_it(tmp_path: Path) -> None:
    config = load_preset("quickstart")
    shape = model_shape(config, vocab_size=300)
    with torch.device("cpu"):
        model = TransformerLM(config.model.build(vocab_size=300))
    (tmp_path / "model.safetensors").write_bytes(b"".join(to_safetensors(pack_model(model)[0], {})))
    (tmp_path / "config.toml").write_text(config_to_toml(config))
    assert read(tmp_path / "model.safetensors").shape == shape


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[model]", "[model", "not valid TOML"),
        ("[model]", "[modell]", "did you mean 'model'"),
        ("d_model", "d_modle", "did you mean 'd_model'"),
    ],
)
def test_what_cannot_be_read_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = config_to_toml(load_preset("quickstart"))
    (tmp_path / "config.toml").write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_two_configurations_of_different_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    config = load_preset("quickstart")
    (tmp_path / "config.toml").write_text(config_to_toml(config))
    with pytest.raises(ValueError, match=r"config\.toml and .*config\.json describe different"):
        read(tmp_path)


def _run(folder: Path) -> nn.Module:
    """Write what a run leaves: its configuration, and a checkpoint with fewer ids than asked."""
    config = load_preset("quickstart")
    model = build_model(config, vocab_size=300, device=torch.device("cpu"))
    optimizer = config.optimizer.build(model)
    text = config_to_toml(config)
    for step in (9, 10):
        snapshot = take_snapshot(
            step=step, model=model, optimizer=optimizer, state={}, config_toml=text
        )
        write_checkpoint(folder, snapshot)
    (folder / "config.toml").write_text(text)
    save_checkpoint(model, optimizer, 10, folder / "single.safetensors")
    return model


def test_a_run_has_the_parameters_of_its_newest_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    model = _run(run)
    single = (run / "single.safetensors").rename(tmp_path / "single.safetensors")
    checkpoint = run / "checkpoints" / "step-10"
    for source in (run, checkpoint, checkpoint / "model.safetensors", single):
        assert count_parameters(read(source).shape).total == model.num_parameters
    with pytest.raises(ValueError, match="known names"):
        read(checkpoint / "optimizer.safetensors")
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("d_model = 192", "d_model = 96"))
    with pytest.raises(ValueError, match=r"step-10/model\.safetensors holds .*config\.toml desc"):
        read(run)
    assert read(checkpoint).shape.d_model == load_preset("quickstart").model.d_model


@pytest.mark.parametrize(
    ("approach", "hours", "peak", "memory_gb"),
    [
        ("parametric", 2, 989.4e12, 141),
        ("training-curves", 2, 4e11, 16),
        ("isoflop", 0.02, 2e11, 2),
    ],
)
def test_the_trainer_takes_a_plan_as_it_is(
    approach: str, hours: float, peak: float, memory_gb: float
) -> None:
    budget = Budget(hours=hours, peak_flops_per_second=peak, memory_bytes=memory_gb * 1e9)
    settings = StepSettings(dtype="bfloat16", loss="chunked")
    plan = propose(budget, approach=approach, vocab_size=2048, settings=settings)
    config = config_from_toml(plan_to_toml(plan, hours, "owt"), origin="plan.toml")
    assert config.total_tokens == plan.num_tokens
    assert config.model.d_model == plan.shape.d_model
    assert plan.peak_memory_bytes <= 0.9 * budget.memory_bytes
    spent = training_flops(plan.shape, plan.num_tokens)
    assert spent <= budget.flops
    assert spent == pytest.approx(budget.flops, rel=0.1)


def _output(capsys: pytest.CaptureFixture[str], line: str) -> str:
    run_named_command(line.split(), application=TRAINER)
    return capsys.readouterr().out


def test_plan_writes_what_it_proposes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    run = "plan --hours 0.1 --peak-tflops 0.3 --memory-gb 4 --unique-tokens 1e5 --corpus stdlib"
    out = _output(capsys, f"{run} --write {path}")
    assert path.read_text().strip() in out
    assert "more than 4 epochs" in out
    assert all(name in out for name in ("training-curves", "isoflop", "parametric"))


def test_plan_times_a_run_by_its_own_metrics(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = {"model.context_length": 10, "training.batch_size": 1, "training.max_steps": 100}
    config = with_values(load_preset("quickstart"), small, origin="test")
    (tmp_path / "config.toml").write_text(config_to_toml(config))
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for n in (1, 50):
        row = {"step": n, "tokens": 10 * n, "seconds": 7.2 * n, "tokens_per_second": 2.0}
        log.append({"kind": "train", "loss": 1.0, **row})
        log.append({"kind": "evaluation", "loss": 1.0, **row})
    (section,) = json.loads(_output(capsys, f"plan {tmp_path} --json")).values()
    assert section["hours"] == pytest.approx(0.1)


def test_an_unknown_command_or_preset_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for line, message in (("flop", "invalid choice"), ("flops quickstrat", "'quickstart'")):
        with pytest.raises(SystemExit) as caught:
            _output(capsys, line)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err
