"""Measure how fast a file becomes ids in memory."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.measurement.harness import Entry, Result
from bench.measurement.rows import Comparison, Row
from bench.tokenization.contests.setting import Setting

_BYTES_A_TOKEN = 2  # bytes per id, if ids fit in 16 bits as GPT-2's do


def entries(setting: Setting) -> list[Entry]:
    """Return ours and gigatoken at each number of threads; tiktoken and HF on one."""
    found = []
    for n in setting.thread_counts:
        found += [_entry(setting, "ours", n), _entry(setting, "gigatoken", n)]
    if 1 in setting.thread_counts:
        found += [
            # A pool is useless on one CPU; which way is faster depends on the text.
            _entry(setting, "gigatoken", 1, mode="sequential"),
            _entry(setting, "tiktoken", 1, passes=1),
        ]
    check = _entry(setting, "huggingface", max(setting.thread_counts), passes=1)
    return [*found, replace(check, name="huggingface (check)", is_check=True)]


def rows(setting: Setting, results: Mapping[str, Result]) -> list[Row]:
    """Compare ours with gigatoken's best way and with tiktoken."""
    found = []
    for n in setting.thread_counts:
        at = Comparison(
            results=results, corpus=setting.corpus, num_threads=n, ours=f"ours, {n} thr"
        )
        peers = [f"gigatoken, {n} thr", "gigatoken, 1 thr, sequential"][: 2 if n == 1 else 1]
        shared = _shared(setting, results, n)
        found.append(at.row("encode-cold", "cold", peers, **shared))
        found.append(at.row("encode-warm", "warm", peers, **shared))
        if n == 1:
            found.append(at.row("encode-array", "cold", ["tiktoken, 1 thr"], **shared))
    return found


def _entry(setting: Setting, contestant: str, n: int, **arguments: str | int) -> Entry:
    mode = f", {arguments['mode']}" if "mode" in arguments else ""
    name, arguments = f"{contestant}, {n} thr{mode}", {**setting.shared, **arguments}
    return setting.entry(name, contestant, "encode", num_threads=n, arguments=arguments)


def _shared(setting: Setting, results: Mapping[str, Result], n: int) -> dict[str, Any]:
    num_ids = results[f"ours, {n} thr"].summary("num_ids")
    moved = setting.corpus.size_bytes + _BYTES_A_TOKEN * (num_ids.median if num_ids else 0)
    return {
        "text_bytes": setting.corpus.size_bytes,
        "floor_seconds": setting.floor_seconds(moved, n),
    }
