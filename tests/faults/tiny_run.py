"""A real run, small enough to be made by the hundred: a few steps of a model of 10,000 weights."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import torch

from trainer import train
from trainer.checkpoint.run_checkpoint import list_checkpoints
from trainer.config.presets import load_preset
from trainer.config.run_config import RunConfig
from trainer.monitoring.progress import Reporter
from trainer.run import RunResult

_SETTINGS: dict[str, Any] = {
    "tokenizer.vocab_size": 300,
    "tokenizer.num_workers": 1,
    "model.context_length": 16,
    "model.d_model": 16,
    "model.num_layers": 2,
    "model.num_heads": 2,
    "model.d_ff": 32,
    "schedule.warmup_steps": 2,
    "training.batch_size": 4,
    "training.micro_batch_size": 2,
    "training.max_steps": 12,
    "training.compile": "off",
    "evaluation.every_steps": 3,
    "evaluation.num_windows": 2,
    "evaluation.final_tokens": 200,
    "evaluation.sample_tokens": 4,
    "evaluation.baselines": False,
    "checkpoint.every_steps": 2,
    "checkpoint.keep": 2,
    "logging.every_steps": 2,
    "device": "cpu",
    "dtype": "float32",
}
_TIMING = ("seconds", "tokens_per_second", "mfu")


def tiny_config(folder: Path, **changes: Any) -> RunConfig:
    """Return a configuration whose text and prepared data are in `folder`.

    Changes are named `section__field`.
    """
    text = folder / "corpus.txt"
    if not text.exists():
        lines = (f"line {i}: the cat sat on mat number {i * 7 % 13}.\n" for i in range(120))
        text.write_text("<|endoftext|>".join(lines))
    corpus = {"source": "files", "train": (text,), "cache_dir": folder / "prepared"}
    sections: dict[str, dict[str, Any]] = {"corpus": corpus}
    own = {name.replace("__", "."): value for name, value in changes.items()}
    for name, value in {**_SETTINGS, **own}.items():
        section, _, field = name.rpartition(".")
        sections.setdefault(section, {})[field] = value
    config = load_preset("quickstart")
    whole = sections.pop("")
    parts = {
        section: dataclasses.replace(getattr(config, section), **fields)
        for section, fields in sections.items()
    }
    return dataclasses.replace(config, **parts, **whole)


def run_tiny(config: RunConfig, run_dir: Path, *, resume: bool = False) -> tuple[RunResult, str]:
    """Train in one thread; return the result and the messages."""
    torch.set_num_threads(1)  # threads on a busy machine mostly wait for each other
    stream = io.StringIO()
    reporter = Reporter(mode="lines", stream=stream)
    return train(config, run_dir, resume=resume, reporter=reporter), stream.getvalue()


def outcome(run_dir: Path) -> dict[str, Any]:
    """Return all that a run must leave alike however often it was stopped: bytes, and rows."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, Any] = {
        "metrics": [{k: v for k, v in row.items() if k not in _TIMING} for row in rows]
    }
    # Where a run was stopped there is a checkpoint more; the last one is always of the last step.
    newest = list_checkpoints(run_dir)[0]
    for path in [*newest.glob("*.safetensors"), *(run_dir / "samples").iterdir()]:
        found[str(path.relative_to(run_dir))] = path.read_bytes()
    return found
