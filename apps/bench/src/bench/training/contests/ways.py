"""Find the way in which each contestant is fastest.

Stage: setting -> *short samples of every way* -> the best one, which then takes part. First it
compares compiled and eager with the whole batch at once, then smaller portions of it. The three
fastest of each contestant are sampled twice more, since a single sample may be lucky.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from bench.measurement.harness import Entry, Result
from bench.training.contests.setting import NAMES, TRAINED, ModelSetting, Way

Run = Callable[[Sequence[Entry]], Mapping[str, Result]]
"""A function that takes one sample of each entry."""
Samples = dict[str, dict[Way, list[float]]]
"""Seconds per token, by contestant and way."""

_MODES = {"cpu": ("default", "off"), "cuda": ("default", "reduce-overhead", "max-autotune", "off")}
_OUR_MODES = ("on", "off")
_SHARES = {"cpu": (2, 4, 8), "cuda": (2,)}  # shares of the batch
_FINALISTS, _MORE_SAMPLES = 3, 2  # one sample may be off by a tenth on a shared machine


def find_ways(
    setting: ModelSetting, dtype: str, run: Run, contestants: Sequence[str] = TRAINED
) -> dict[str, Way]:
    """Return the fastest way of each contestant, or the first if it fails in all ways."""
    batch = setting.batch_size
    modes = {
        name: _OUR_MODES if name == "models.ours" else _MODES[setting.device]
        for name in contestants
    }
    tried = {
        name: [Way(micro_batch_size=batch, compile=mode) for mode in modes[name]]
        for name in contestants
    }
    samples: Samples = {}
    _sample(samples, setting, dtype, run, tried)
    portions = [batch // share for share in _SHARES[setting.device]]
    for name, (best, *_) in _fastest(samples, contestants).items():
        tried[name] = [replace(best, micro_batch_size=portion) for portion in portions]
    _sample(samples, setting, dtype, run, tried)
    finalists = {name: ways[:_FINALISTS] for name, ways in _fastest(samples, contestants).items()}
    for _ in range(_MORE_SAMPLES):
        _sample(samples, setting, dtype, run, finalists)
    for name in contestants:  # a way that was not sampled again had just one lucky sample
        samples[name] = {way: samples[name][way] for way in finalists[name]}
    return {name: best for name, (best, *_) in _fastest(samples, contestants).items()}


def _sample(
    samples: Samples, setting: ModelSetting, dtype: str, run: Run, tried: Mapping[str, list[Way]]
) -> None:
    entries = {
        (name, way): setting.training(name, way, dtype, f"{NAMES[name]}, {way}")
        for name, ways in tried.items()
        for way in ways
    }
    results = run(list(entries.values()))
    for (name, way), entry in entries.items():
        summary = results[entry.name].summary("seconds_per_token")
        found = summary.median if summary else float("inf")
        samples.setdefault(name, {}).setdefault(way, []).append(found)


def _fastest(samples: Samples, contestants: Sequence[str]) -> dict[str, list[Way]]:
    """Return the ways of each contestant, fastest first."""
    return {
        name: sorted(samples[name], key=lambda way: median(samples[name][way]))
        for name in contestants
    }
