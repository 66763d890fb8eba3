"""Measure how long the very first use takes, when every kernel has to be compiled."""

from collections.abc import Mapping

from bench.measurement.harness import Entry, Order, Result
from bench.measurement.machine import num_cpus
from bench.measurement.rows import Comparison, Row
from bench.tokenization.contests.setting import Setting


def entries(setting: Setting) -> list[Entry]:
    """Return ours with an empty kernel cache and with the user's."""
    return [
        Entry(name="ours, empty cache", order=compiling(setting, "empty")),
        Entry(name="ours, cached", order=compiling(setting, "kept")),
    ]


def compiling(setting: Setting, cache: str) -> Order:
    """Return the order that compiles or loads all kernels."""
    return Order(
        contestant="ours",
        task="compile_kernels",
        num_threads=num_cpus(),
        arguments={**setting.shared, "cache": cache},
    )


def rows(setting: Setting, results: Mapping[str, Result]) -> list[Row]:
    """Return seconds; there is no peer."""
    at = Comparison(results=results)
    return [
        at.row("jit", "both", [], ours="ours, empty cache"),
        at.row("jit-cached", "both", [], ours="ours, cached"),
    ]
