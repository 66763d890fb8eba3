"""Measure the time and memory of training."""

from collections.abc import Mapping
from typing import Any

from bench.measurement.harness import Entry, Result
from bench.measurement.rows import Comparison, Row
from bench.tokenization.contests.setting import Setting

_FULL_BYTES = 95_000_000  # the targets are for 100 MB
_PEERS = ("gigatoken", "rustbpe", "huggingface")


def entries(setting: Setting) -> list[Entry]:
    """Return all trainers, and ours and gigatoken again under each other's tie rules."""
    by_ids: dict[str, Any] = {"ties": "huggingface", "digest": "merges, ties as HF"}
    by_bytes: dict[str, Any] = {"ties": "smallest-bytes", "digest": "merges, ties by bytes"}
    return [
        _entry(setting, "ours", "ours", ties="cs336"),
        _entry(setting, "ours, first call", "ours", ties="cs336", is_warm=0),
        _entry(setting, "gigatoken", "gigatoken", **by_ids),
        _entry(setting, "gigatoken, first call", "gigatoken", **by_ids, is_warm=0),
        _entry(setting, "huggingface", "huggingface", **by_ids),
        _entry(setting, "rustbpe", "rustbpe", ties="its own"),
        _entry(setting, "ours (check, ties as HF)", "ours", is_check=True, **by_ids),
        _entry(setting, "ours (check, ties by bytes)", "ours", is_check=True, **by_bytes),
        _entry(setting, "gigatoken (check, ties by bytes)", "gigatoken", is_check=True, **by_bytes),
    ]


def rows(setting: Setting, results: Mapping[str, Result]) -> list[Row]:
    """Compare ours with each peer."""
    n, size = max(setting.thread_counts), setting.corpus.size_bytes
    at = Comparison(results=results, corpus=setting.corpus, num_threads=n)
    is_judged = size >= _FULL_BYTES
    shared = {"is_judged": is_judged, "floor_seconds": setting.floor_seconds(size, n)}
    found = [at.row(f"train-{peer}", "train", [peer], **shared) for peer in _PEERS]
    first = ["gigatoken, first call"]
    found.append(at.row("train-first", "train", first, ours="ours, first call", **shared))
    memory = Row(
        key="train-memory",
        corpus=setting.corpus.name,
        num_threads=n,
        ours=results["ours, first call"].peak(),
        peer="gigatoken",
        theirs=results["gigatoken, first call"].peak(),
        is_judged=is_judged,
    )
    return [*found, memory]


def _entry(
    setting: Setting, name: str, contestant: str, *, is_check: bool = False, **arguments: str | int
) -> Entry:
    arguments |= {"file": str(setting.corpus.path), "vocab_size": setting.train_vocab_size}
    how = {"num_threads": max(setting.thread_counts), "is_check": is_check}
    return setting.entry(name, contestant, "train", arguments=arguments, **how)
