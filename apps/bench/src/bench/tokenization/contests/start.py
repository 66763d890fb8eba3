"""Measure how long a new process takes until its first ids."""

from collections.abc import Mapping

from bench.measurement.harness import Entry, Result
from bench.measurement.machine import num_cpus
from bench.measurement.rows import Comparison, Row
from bench.tokenization.contests.setting import Setting

_WAYS = {
    "ours": ("ours", "load"),
    "ours, from_files": ("ours", "from_files"),
    "tiktoken": ("tiktoken", "ranks"),
    "gigatoken": ("gigatoken", "tokenizer.json"),
    "huggingface": ("huggingface", "tokenizer.json"),
}


def entries(setting: Setting) -> list[Entry]:
    """Return every contestant that encodes, with all CPUs."""
    shared, n = {"vocabulary": str(setting.vocabulary)}, num_cpus()
    return [
        setting.entry(name, who, "start", num_threads=n, arguments={**shared, "how": how})
        for name, (who, how) in _WAYS.items()
    ]


def rows(setting: Setting, results: Mapping[str, Result]) -> list[Row]:
    """Return seconds, with the peer's beside them."""
    at = Comparison(results=results)
    return [
        at.row("start", "start", ["tiktoken"]),
        at.row("start-files", "start", ["tiktoken"], ours="ours, from_files"),
    ]
