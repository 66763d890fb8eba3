"""Measure tokens per second, and the share of the machine's matmul peak."""

from collections.abc import Mapping

from bench.measurement.harness import Entry, Result, Summary
from bench.measurement.rows import Comparison, Row
from bench.training.contests.setting import NAMES, TRAINED, ModelSetting, Way


def entries(setting: ModelSetting, dtype: str, ways: Mapping[str, Way]) -> list[Entry]:
    """Return every contestant in its best way, and the matmul peak."""
    trained = [setting.training(name, way, dtype) for name, way in ways.items()]
    return [*trained, setting.entry("models.matmul", "peak", dtype=dtype)]


def rows(key: str, results: Mapping[str, Result], *, has_peak: bool = True) -> list[Row]:
    """Compare ours with the fastest baseline, and with the peak."""
    names = (NAMES[name] for name in TRAINED)
    baselines = [name for name in names if name in results and name != "ours"]
    found = [Comparison(results=results).row(key, "seconds_per_token", baselines)]
    if has_peak:
        share = peak_share(results["ours"], results[NAMES["models.matmul"]])
        found.append(Row(key=f"{key}-peak", ours=share, note="; ".join(results["ours"].failure)))
    return found


def peak_share(result: Result, peak: Result) -> Summary | None:
    """Return the share of the same run's peak; the maximum is for the fastest step."""
    seconds, flops = result.summary("seconds_per_token"), result.summary("flops_per_token")
    most = peak.summary("flops_per_second")
    if seconds is None or flops is None or most is None:
        return None
    return Summary(
        flops.median / seconds.median / most.median,
        flops.median / seconds.maximum / most.median,
        flops.median / seconds.minimum / most.median,
        seconds.num_samples,
    )
