"""Describe presets, configurations, checkpoints and runs to accounting.

Stage: a preset, TOML or run directory -> *accounting's model* -> every account. Not here: the
accounts (`accounting`), the translation of a configuration into its terms (`plan/shape.py`).
"""

from functools import partial
from pathlib import Path

import torch

from accounting import StepSettings
from accounting.hardware import Device
from accounting.plan import Plan
from accounting.sources.inputs import ACCOUNTING, WEIGHTS
from accounting.sources.model import Application, Model, Training
from accounting.sources.weights import find_weights
from accounting.time import Progress
from nn_layers.backends.choice import attention_backends, auto_order, loss_backends
from trainer.checkpoint.run_checkpoint import list_checkpoints
from trainer.config.presets import config_from_toml, config_to_toml, load_preset, preset_names
from trainer.config.run_config import (
    CheckpointConfig,
    CorpusConfig,
    EvaluationConfig,
    ModelSection,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TokenizerConfig,
    TrainingConfig,
)
from trainer.monitoring.metrics import read_metrics
from trainer.plan.compute import ComputePlan, compute_setting, plan_compute
from trainer.plan.devices import resolve_device
from trainer.plan.shape import model_shape
from trainer.plan.step_settings import step_settings
from trainer.storage.run_directory import RunDirectory


def _read_preset(name: str) -> Model:
    return _describe(load_preset(name), name=name)


def _read_toml(path: Path) -> Model:
    """Read a configuration; one inside a run comes with the run's progress and weights."""
    config = config_from_toml(path.read_text(encoding="utf-8"), origin=str(path), preset=path.stem)
    run = RunDirectory(path.parent)
    rows = read_metrics(run.metrics) if path == run.config and run.metrics.exists() else []
    return _describe(
        config,
        name=str(path),
        progress=[
            Progress(row["tokens"], row["seconds"], row["tokens_per_second"])
            for row in rows
            if row["kind"] == "train"
        ],
        checkpoint=next(filter(None, map(find_weights, list_checkpoints(run.path))), None),
    )


def _describe(
    config: RunConfig,
    *,
    name: str,
    progress: list[Progress] | None = None,
    checkpoint: Path | None = None,
) -> Model:
    return Model(
        name=name,
        shape=model_shape(config, vocab_size=config.tokenizer.vocab_size),
        training=Training(
            settings=partial(_settings, config),
            num_steps=config.training.max_steps,
            batch_size=config.training.batch_size,
            progress=progress or [],
        ),
        has_spare_ids=True,
        checkpoint=checkpoint,
    )


def _settings(config: RunConfig, device: Device | None) -> StepSettings:
    """Return how the run computes: on the device it would use here, or on a CUDA device."""
    if device is None:
        return step_settings(config, plan_compute(config, device=resolve_device(config.device)))
    setting = compute_setting(config, torch.device("cuda"))
    attention, loss = config.model.attention, config.training.loss
    if attention == "auto":
        attention = auto_order(attention_backends(), setting)[0]
    if loss == "auto":
        loss = auto_order(loss_backends(), setting)[0]
    plan = ComputePlan(dtype=setting.dtype, attention=attention, loss=loss, compile=False)
    return step_settings(config, plan)


def plan_to_toml(plan: Plan, hours: float, corpus: str | None = None) -> str:
    """Return a proposed run as a configuration.

    Args:
        plan: the proposal.
        hours: after which the run stops at any speed.
        corpus: its source; None: owt.
    """
    shape, every = plan.shape, max(plan.num_steps // 20, 1)
    config = RunConfig(
        preset="plan",
        corpus=CorpusConfig(source=corpus or "owt"),
        tokenizer=TokenizerConfig(vocab_size=shape.vocab_size),
        model=ModelSection(
            context_length=shape.context_length,
            d_model=shape.d_model,
            num_layers=shape.num_layers,
            num_heads=shape.num_heads,
            d_ff=shape.d_ff,
            qk_norm=shape.qk_norm,
        ),
        optimizer=OptimizerConfig(learning_rate=plan.learning_rate),
        schedule=ScheduleConfig(warmup_steps=plan.warmup_steps),
        training=TrainingConfig(
            batch_size=plan.batch_size,
            micro_batch_size=plan.micro_batch_size,
            max_steps=plan.num_steps,
            max_hours=float(hours),
        ),
        evaluation=EvaluationConfig(every_steps=every, num_windows=256),
        checkpoint=CheckpointConfig(every_steps=every),
    )
    return config_to_toml(config)


TRAINER = Application(
    command="costs ",
    presets=dict(ACCOUNTING.presets)
    | {name: partial(_read_preset, name) for name in preset_names()},
    formats={"config.toml": _read_toml, **ACCOUNTING.formats},
    accepted=f"a preset ({', '.join(preset_names())}, or one of accounting's), a configuration "
    f"(TOML), a run or checkpoint; a Hugging Face config.json, {WEIGHTS}",
    plan_to_toml=plan_to_toml,
)
