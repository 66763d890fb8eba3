"""Measure tokens per second of one generated sequence on the CPU."""

from collections.abc import Mapping

from bench.measurement.harness import Entry, Result
from bench.measurement.rows import Comparison, Row
from bench.training.contests.setting import ModelSetting

_AGAINST = {"bfloat16": "bfloat16", "float32": "float32", "int8": "bfloat16"}
"""HF's weight dtype for each of ours; HF has no int8 of its own on the CPU."""


def entries(setting: ModelSetting, num_tokens: int) -> list[Entry]:
    """Return ours in each width, and HF's in those that it has."""
    ours = [_entry(setting, "models.ours", weights, num_tokens) for weights in _AGAINST]
    widths = dict.fromkeys(_AGAINST.values())
    return [*ours, *(_entry(setting, "models.huggingface", each, num_tokens) for each in widths)]


def rows(results: Mapping[str, Result]) -> list[Row]:
    """Compare ours with HF's `generate`."""
    at = Comparison(results=results)
    return [
        at.row(
            f"generate-{weights}",
            "seconds_per_token",
            [f"HF Llama, {theirs}"],
            ours=f"ours, {weights}",
        )
        for weights, theirs in _AGAINST.items()
    ]


def _entry(setting: ModelSetting, contestant: str, weights: str, num_tokens: int) -> Entry:
    who = {"models.ours": "ours", "models.huggingface": "HF Llama"}[contestant]
    arguments = {"weights": weights, "num_tokens": num_tokens}
    return setting.entry(contestant, "generate", f"{who}, {weights}", **arguments)
