"""Measure how long one call for a short text takes."""

from collections.abc import Mapping

from bench.measurement.harness import Entry, Result
from bench.measurement.rows import Comparison, Row
from bench.tokenization.contests.setting import Setting
from bench.tokenization.tasks import SHORT_LENGTHS

_CONTESTANTS = ("ours", "tiktoken", "gigatoken", "huggingface")


def entries(setting: Setting) -> list[Entry]:
    """Return every contestant that encodes, on one CPU."""
    return [setting.entry(name, name, "calls", arguments=setting.shared) for name in _CONTESTANTS]


def rows(setting: Setting, results: Mapping[str, Result]) -> list[Row]:
    """Compare ours with tiktoken, over all lengths and at the shortest alone."""
    at = Comparison(results=results, corpus=setting.corpus, num_threads=1)
    return [
        at.row("calls", "mean", ["tiktoken"]),
        at.row("calls-10", str(SHORT_LENGTHS[0]), ["tiktoken"]),
    ]
