"""Check that twice the text takes twice the time, for any text."""

from collections.abc import Mapping
from pathlib import Path

from bench.measurement.harness import Entry, Result
from bench.measurement.rows import Row
from bench.tokenization.contests.setting import Setting

HOSTILE = {
    "one character": "a",
    "spaces": " ",
    "emoji": "\N{GRINNING FACE}",
    "alternating classes": "a1!\n ",
}
"""The repeated texts, by name."""

_TASKS = {"encode": "cold", "train": "train"}


def entries(setting: Setting) -> list[Entry]:
    """Return ours on each text, at single and double length."""
    return [
        setting.entry(_name(task, text, times), "ours", task, arguments=arguments)
        for text, paths in _texts(setting).items()
        for times, path in enumerate(paths, start=1)
        for task, arguments in _arguments(setting, path).items()
    ]


def rows(setting: Setting, results: Mapping[str, Result]) -> list[Row]:
    """Compare double length with single length."""
    return [
        Row(
            key="growth",
            num_threads=1,
            corpus=text if text not in HOSTILE else None,
            detail=f"{task}, {text}" if text in HOSTILE else task,
            ours=results[_name(task, text, 2)].summary(metric),
            peer="half of it",
            theirs=results[_name(task, text, 1)].summary(metric),
            note="; ".join(results[_name(task, text, 2)].failure),
        )
        for text in (*HOSTILE, setting.corpus.name)
        for task, metric in _TASKS.items()
    ]


def write_hostile(path: Path, repeated: str, size_bytes: int) -> Path:
    """Write a number of bytes of one repeated text, cut at a character."""
    unit = repeated.encode()
    path.write_bytes(unit * (size_bytes // len(unit)))
    return path


def _texts(setting: Setting) -> dict[str, tuple[Path, Path]]:
    found = {}
    for name, repeated in HOSTILE.items():
        paths = [setting.work_dir / f"{name.replace(' ', '-')}-{times}.txt" for times in (1, 2)]
        for times, path in enumerate(paths, start=1):
            write_hostile(path, repeated, times * setting.growth_bytes)
        found[name] = tuple(paths)
    return {**found, setting.corpus.name: _halves(setting)}


def _halves(setting: Setting) -> tuple[Path, Path]:
    """Return half of the corpus, cut where a line ends, and the whole of it."""
    text = setting.corpus.path.read_bytes()
    half = setting.work_dir / f"{setting.corpus.name}-half.txt"
    half.write_bytes(text[: text.rfind(b"\n", 0, len(text) // 2) + 1])
    return half, setting.corpus.path


def _name(task: str, text: str, times: int) -> str:
    return f"{task}, {text} x{times}"


def _arguments(setting: Setting, path: Path) -> dict[str, dict[str, str | int]]:
    encode = {"vocabulary": str(setting.vocabulary), "passes": 1, "digest": path.stem}
    train = {"vocab_size": setting.train_vocab_size, "ties": "cs336"}
    return {"encode": {"file": str(path), **encode}, "train": {"file": str(path), **train}}
