"""Measure how fast ids become text."""

from collections.abc import Mapping
from pathlib import Path

from bench.measurement.harness import Entry, Result
from bench.measurement.rows import Comparison, Row
from bench.texts.vocabulary import write_ids
from bench.tokenization.contests.setting import Setting

_WAYS = {
    "ours": ("ours", "uint16"),
    "ours, list": ("ours", "list"),
    "tiktoken": ("tiktoken", "list"),
    "gigatoken": ("gigatoken", "uint32"),
}


def entries(setting: Setting) -> list[Entry]:
    """Return every contestant with its fastest form of ids, and ours with a list as well."""
    write_ids(setting.vocabulary, _text(setting), _path(setting))
    shared = {"vocabulary": str(setting.vocabulary), "ids": str(_path(setting))}
    return [
        setting.entry(name, contestant, "decode", arguments={**shared, "form": form})
        for name, (contestant, form) in _WAYS.items()
    ]


def rows(setting: Setting, results: Mapping[str, Result]) -> list[Row]:
    """Compare ours with tiktoken."""
    at = Comparison(results=results, corpus=setting.corpus, num_threads=1)
    size = len(_text(setting))
    moved = size + _path(setting).stat().st_size
    shared = {"text_bytes": size, "floor_seconds": setting.floor_seconds(moved, 1)}
    return [
        at.row("decode", "decode", ["tiktoken"], **shared),
        at.row("decode-list", "decode", ["tiktoken"], ours="ours, list", **shared),
    ]


def _path(setting: Setting) -> Path:
    return setting.work_dir / f"{setting.corpus.name}.npy"


def _text(setting: Setting) -> bytes:
    with setting.corpus.path.open("rb") as file:
        return file.read(setting.ids_bytes).decode(errors="ignore").encode()
