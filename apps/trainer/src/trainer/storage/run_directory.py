"""Lay out run directories, create new ones, and keep two processes out of the same one.

Stage: every stage writes here. Not here: the content of checkpoints (`checkpoint/`) and metrics
(`monitoring/metrics.py`).

    runs/quickstart-001/
        config.toml  data.json  metrics.jsonl  sittings.jsonl  loss.svg  summary.json  run.lock
        tokenizer/  samples/step-N.txt  checkpoints/step-N/
"""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpe.formats.files import make_directory
from trainer.command_hints import command
from trainer.storage.durable import UNFINISHED, remove, write_atomically
from trainer.storage.file_lock import InUseError, exclusive_lock

RUNS = Path("runs")


class _Inside:
    """A path inside a run directory."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: "RunDirectory", owner: type) -> Path:
        return run.path / self._name


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The paths of one run."""

    path: Path

    config = _Inside("config.toml")
    """The resolved configuration, TOML."""
    data = _Inside("data.json")
    """Hashes of the token files that the run trains on, JSON."""
    metrics = _Inside("metrics.jsonl")
    """One JSON object per line."""
    sittings = _Inside("sittings.jsonl")
    """How each sitting computed, one JSON object per line."""
    curve = _Inside("loss.svg")
    """Loss against steps, SVG."""
    summary = _Inside("summary.json")
    """The final report, JSON; present once the run is finished."""
    tokenizer = _Inside("tokenizer")
    """A copy of the tokenizer, so that the directory is self-contained."""
    lock = _Inside("run.lock")
    """Held by the process that trains here; names it."""
    samples = _Inside("samples")
    """Texts sampled during training."""

    def sample(self, step: int) -> Path:
        """The text sampled at `step`."""
        return self.samples / f"step-{step}.txt"


@contextmanager
def hold_new_run(
    path: Path | None, *, preset: str, say: Callable[[str], None], runs: Path = RUNS
) -> Iterator[RunDirectory]:
    """Create a run directory and lock it, as `hold_run` does.

    Args:
        path: where; None: `runs/<preset>-NNN`, numbered above all existing runs and those that
            other processes are about to begin.
        preset: names the default directory.
        say: reports what a killed process left, which is taken over.
        runs: parent of the default directory.

    Raises:
        ValueError: the path exists, is in use, or cannot be created.
    """
    if path is not None:
        run = create_run(path)
        with hold_run(run, say=say):
            require_free(path)  # another process may have created it meanwhile
            yield run
        return
    numbers = [n for n, old in numbered_runs(preset, runs) if not _is_unborn(old)]
    for number in itertools.count(max(numbers, default=0) + 1):
        path = runs / f"{preset}-{number:03d}"
        if _is_taken(path):
            continue
        run = _make_run(path)
        with ExitStack() as stack:
            try:
                stack.enter_context(hold_run(run, say=say))
            except InUseError:
                continue
            if not _is_taken(path):
                yield run
                return


def create_run(path: Path) -> RunDirectory:
    """Create a run directory; it becomes a run with `config.toml`, which is written last.

    What a process left that was killed before then is taken over.

    Raises:
        ValueError: the path exists, or cannot be created.
    """
    require_free(path)
    return _make_run(path)


def _make_run(path: Path) -> RunDirectory:
    try:
        make_directory(path)
    except OSError as error:
        raise ValueError(
            f"cannot create the run directory {path}: {error.strerror}; name another with --run-dir"
        ) from error
    return RunDirectory(path)


@contextmanager
def hold_run(run: RunDirectory, *, say: Callable[[str], None]) -> Iterator[None]:
    """Lock a run directory for training, and remove what a killed process left.

    Raises:
        ValueError: another process is training there; the message names it.
    """
    with exclusive_lock(run.lock, what=f"run directory {run.path}") as stale:
        if stale is not None:
            say(f"{stale} was killed while training in {run.path}; taking over")
        for path in temporary_files(run):
            say(f"removing {path}, left by an interrupted process")
            remove(path)
        yield


def temporary_files(run: RunDirectory) -> list[Path]:
    """Return the unfinished files of interrupted processes in a run directory."""
    folders = [run.path, run.samples, run.path / "checkpoints", run.tokenizer]
    return sorted(
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.name.endswith(UNFINISHED)
    )


def require_free(path: Path) -> None:
    """Require that a run directory can be created at `path`, before hours of work.

    Raises:
        ValueError: the path exists, or no directory can be created there.
    """
    if _is_taken(path):
        is_run = RunDirectory(path).config.exists()
        advice = f"resume it with {command('train', '--resume', path)}, or " if is_run else ""
        raise ValueError(f"run directory {path} exists; {advice}name another with --run-dir")
    above = (path.absolute(), *path.absolute().parents)
    parent = next(parent for parent in above if os.path.lexists(parent))
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        reason = "is not writable" if parent.is_dir() else "is not a directory"
        raise ValueError(
            f"cannot create the run directory {path}: {parent} {reason}; "
            "name another with --run-dir"
        )


def numbered_runs(preset: str, runs: Path = RUNS) -> list[tuple[int, Path]]:
    """Return number and path of everything named `PRESET-NUMBER`, the highest number first."""
    pattern = re.compile(re.escape(preset) + r"-([0-9]+)")
    paths = runs.iterdir() if runs.is_dir() else ()
    found = [(int(match[1]), path) for path in paths if (match := pattern.fullmatch(path.name))]
    return sorted(found, reverse=True)


def require_run(path: Path) -> RunDirectory:
    """Return the run at `path`.

    Raises:
        ValueError: there is none.
    """
    run = RunDirectory(path)
    if not run.config.exists():
        raise ValueError(
            f"{path} is not a run directory: it has no config.toml; name one that train created"
        )
    return run


def require_same_data(run: RunDirectory, hashes: dict[str, str]) -> None:
    """Require the prepared data that the run recorded.

    Raises:
        ValueError: the text or the tokenizer changed.
    """
    recorded = read_json(run.data)
    changed = sorted(key for key, value in hashes.items() if recorded.get(key) != value)
    if changed:
        raise ValueError(
            f"the text or tokenizer changed since {run.path} began: {', '.join(changed)} differ "
            f"from {run.data}; restore the text or start a new run"
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file does not hold one.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}; restore or remove it") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds {type(document).__name__}, but must hold a JSON object")
    return document


def write_text_atomically(path: Path, text: str) -> None:
    """Write a small UTF-8 file, complete or absent."""
    make_directory(path.parent)
    write_atomically(path, [text.encode("utf-8")])


def write_json_atomically(path: Path, document: object) -> None:
    """Write a JSON document, complete or absent."""
    write_text_atomically(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _is_taken(path: Path) -> bool:
    return os.path.lexists(path) and not _is_unborn(path)


def _is_unborn(path: Path) -> bool:
    """Whether a directory holds only what a process killed before config.toml leaves."""
    if path.is_symlink() or not path.is_dir():
        return False
    early = {"run.lock", "data.json", "tokenizer"}
    return all(one.name in early or one.name.endswith(UNFINISHED) for one in path.iterdir())
