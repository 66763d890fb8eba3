"""Measure how long the very first use takes, when every kernel has to be compiled."""

from collections.abc import Mapping

from bench.measurement.harness import Entry, Result
from bench.measurement.machine import num_cpus
from bench.measurement.rows import Comparison, Row
from bench.tokenization.contests.setting import Setting


def entries(setting: Setting) -> list[Entry]:
    """Return ours with an empty kernel cache and with the user's."""
    return [compiling(setting, "ours, empty cache", "empty"), compiling(setting)]


def compiling(setting: Setting, name: str = "ours, cached", cache: str = "kept") -> Entry:
    """Return the entry that compiles or loads all kernels."""
    arguments, n = {**setting.shared, "cache": cache}, num_cpus()
    return setting.entry(name, "ours", "compile_kernels", num_threads=n, arguments=arguments)


def rows(setting: Setting, results: Mapping[str, Result]) -> list[Row]:
    """Return seconds; there is no peer."""
    at = Comparison(results=results)
    return [
        at.row("jit", "both", [], ours="ours, empty cache"),
        at.row("jit-cached", "both", [], ours="ours, cached"),
    ]
