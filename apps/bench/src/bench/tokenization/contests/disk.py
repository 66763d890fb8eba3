"""Measure how fast a file becomes a file of ids."""

from collections.abc import Mapping

from bench.measurement.harness import Entry, Result
from bench.measurement.rows import Comparison, Row
from bench.tokenization.contests.setting import Setting


def entries(setting: Setting) -> list[Entry]:
    """Return ours and gigatoken at each number of threads."""
    return [
        setting.entry(
            f"{contestant}, {n} thr", contestant, "write", num_threads=n, arguments=setting.shared
        )
        for n in setting.thread_counts
        for contestant in ("ours", "gigatoken")
    ]


def rows(setting: Setting, results: Mapping[str, Result]) -> list[Row]:
    """Compare ours with gigatoken."""
    return [
        Comparison(
            results=results, corpus=setting.corpus, num_threads=n, ours=f"ours, {n} thr"
        ).row("disk", "disk", [f"gigatoken, {n} thr"], text_bytes=setting.corpus.size_bytes)
        for n in setting.thread_counts
    ]
