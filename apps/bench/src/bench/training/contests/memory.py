"""Measure the memory of training with the whole batch at once."""

from collections.abc import Mapping
from dataclasses import replace

from bench.measurement.harness import Entry, Result
from bench.measurement.rows import Row
from bench.training.contests.setting import ModelSetting, Way

_CONTESTANTS = ("models.ours", "models.huggingface")


def entries(setting: ModelSetting, dtype: str, ways: Mapping[str, Way]) -> list[Entry]:
    """Return ours and HF's in their fastest ways, but with the whole batch at once."""
    return [
        setting.training(name, replace(ways[name], micro_batch_size=setting.batch_size), dtype)
        for name in _CONTESTANTS
    ]


def rows(results: Mapping[str, Result]) -> list[Row]:
    """Compare the peak resident sets."""
    ours, theirs = results["ours"], results["HF Llama"]
    return [
        Row(
            key="model-memory",
            ours=ours.peak(),
            peer="HF Llama",
            theirs=theirs.peak(),
            note="; ".join([*ours.failure, *theirs.failure]),
        )
    ]
