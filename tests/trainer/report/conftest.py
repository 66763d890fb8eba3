"""Run directories as `train` leaves them, without training."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.config.presets import config_to_toml, load_preset
from trainer.evaluation.baselines import Baseline
from trainer.monitoring.metrics import MetricsLog
from trainer.summary import Summary

WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    def write(
        name: str,
        *,
        learning_rate: float = 4e-3,
        seed: int = 0,
        end: float = 3.0,
        num_steps: int = 100,
        is_finished: bool = True,
        vocab_size: int = 2048,
    ) -> Path:
        preset = load_preset("quickstart")
        config = dataclasses.replace(
            preset,
            seed=seed,
            optimizer=dataclasses.replace(preset.optimizer, learning_rate=learning_rate),
            tokenizer=dataclasses.replace(preset.tokenizer, vocab_size=vocab_size),
        )
        path = tmp_path / name
        path.mkdir()
        (path / "config.toml").write_text(config_to_toml(config))
        log = MetricsLog(path / "metrics.jsonl")
        for step in range(1, num_steps + 1):
            when = {"step": step, "seconds": step * 0.5, "tokens": step * 2048}
            loss = end + 4 * math.exp(-step / 20)
            more = {"learning_rate": learning_rate, "grad_norm": 0.5, "tokens_per_second": 4096.0}
            log.append({"kind": "train", **when, "loss": loss, **more})
            if step % 20 == 0:
                log.append({"kind": "evaluation", **when, "loss": loss + 0.1})
        (path / "samples").mkdir()
        (path / "samples" / "step-20.txt").write_text("early </script><b>text</b>")
        (path / "samples" / "step-100.txt").write_text("late & text")
        if is_finished:
            _summary(end, num_steps).save(path / "summary.json")
        return path

    return write


def _summary(end: float, num_steps: int) -> Summary:
    rows = [("this model", 1.5, end), ("xz -9", 1.7, None), ("smoothed token bigram", 1.2, 2.5)]
    return Summary(
        preset="quickstart",
        step=num_steps,
        training_tokens=num_steps * 2048,
        training_seconds=num_steps * 0.5,
        tokens_per_second=4096.0,
        mfu=None,
        scored_tokens=1000,
        scored_bytes=3000,
        validation_loss=end + 0.1,
        comparisons=[
            Baseline(name=name, bits_per_byte=bits, nats_per_token=nats)
            for name, bits, nats in rows
        ],
        target_loss=None,
        curve="loss.svg",
        sample="",
        notes=[],
    )
