"""In which way is each contestant fastest?

Stage: setting -> *short samples of every way* -> the best one, which then takes part. First
compiled or not, with the whole batch at once; then smaller portions of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bench.harness import Entry, Result
from bench.model_contests.setting import NAMES, TRAINED, ModelSetting, Way

Run = Callable[[Sequence[Entry]], Mapping[str, Result]]
"""Takes one sample of each entry."""

_MODES = {"cpu": ("default", "off"), "cuda": ("default", "reduce-overhead", "max-autotune", "off")}
_OUR_MODES = ("auto", "on")
_SHARES = {"cpu": (2, 4, 8), "cuda": (2,)}  # of the batch


def find_ways(
    setting: ModelSetting, dtype: str, run: Run, contestants: Sequence[str] = TRAINED
) -> dict[str, Way]:
    """Return the fastest way of each contestant; those that fail in all ways get the first."""
    batch = setting.batch_size
    modes = {
        name: _OUR_MODES if name == "models.ours" else _MODES[setting.device]
        for name in contestants
    }
    tried = {
        name: [Way(micro_batch_size=batch, compile=mode) for mode in modes[name]]
        for name in contestants
    }
    best = _best(setting, dtype, run, tried)
    smaller = {
        name: [replace(way, micro_batch_size=batch // share) for share in _SHARES[setting.device]]
        for name, (way, _) in best.items()
    }
    again = _best(setting, dtype, run, smaller)
    return {name: min(best[name], again[name], key=lambda found: found[1])[0] for name in best}


def _best(
    setting: ModelSetting, dtype: str, run: Run, tried: Mapping[str, Sequence[Way]]
) -> dict[str, tuple[Way, float]]:
    entries = {
        (name, way): setting.training(name, way, dtype, f"{NAMES[name]}, {way}")
        for name, ways in tried.items()
        for way in ways
    }
    results = run(list(entries.values()))

    def seconds(name: str, way: Way) -> float:
        summary = results[entries[name, way].name].summary("seconds_per_token")
        return summary.median if summary else float("inf")

    return {
        name: min(((way, seconds(name, way)) for way in ways), key=lambda found: found[1])
        for name, ways in tried.items()
    }
