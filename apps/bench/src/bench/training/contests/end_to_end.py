"""Measure how long a whole run takes on a GPU, started from a shell."""

from collections.abc import Mapping

from bench.measurement.harness import Entry, Result
from bench.measurement.rows import Row
from bench.training.contests.setting import ModelSetting


def entries(setting: ModelSetting, num_steps: int) -> list[Entry]:
    """Return one run of the trainer's command."""
    arguments = {"cache_dir": str(setting.cache_dir), "num_steps": num_steps}
    return [setting.entry("models.ours", "end_to_end", **arguments)]


def rows(results: Mapping[str, Result]) -> list[Row]:
    """Return seconds; there is no peer."""
    ours = results["ours"]
    loss = ours.summary("validation_loss")
    note = f"validation loss {loss.median:.4f}" if loss else "; ".join(ours.failure)
    return [Row(key="cuda-end-to-end", ours=ours.summary("seconds"), note=note)]
