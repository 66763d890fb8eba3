"""Build a folder once, complete or absent, even if several processes need it at the same time.

Stage: under prepared text, tokenizers and token files. Not here: their content.
"""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bpe.formats.files import make_directory, sync_directory
from trainer.monitoring.progress import Reporter
from trainer.storage.durable import rename_durably, sync_file
from trainer.storage.file_lock import file_lock

T = TypeVar("T")


class AlteredError(ValueError):
    """The content of a finished folder was changed."""


def open_or_build(
    folder: Path,
    *,
    read: Callable[[Path], T],
    build: Callable[[Path], object],
    reporter: Reporter,
) -> tuple[T, bool]:
    """Return what `read` makes of the folder, and whether the folder existed already.

    The folder is built beside its final place, synced and renamed, so neither a killed process nor
    a power cut leaves one that looks complete. A second process waits for the first and reuses it.

    Args:
        folder: named by everything that determines its content.
        read: raises ValueError or OSError if the content is incomplete; it is then built again.
        build: fills the given empty folder.
        reporter: reports damage and waiting.

    Raises:
        ValueError: `read` raised `AlteredError`. No interrupted process leaves such content, so
            nothing is overwritten; the message names the folder to remove.
    """
    if folder.exists():
        # A finished folder may be on a read-only disk, where no lock can be created.
        with contextlib.suppress(_Damaged):
            return _read(folder, read), True
    make_directory(folder.parent)
    lock = folder.with_name(f".{folder.name}.lock")
    waiting = f"another process is building {folder}; waiting for it"
    with file_lock(lock, on_wait=lambda: reporter.say(waiting)):
        if folder.exists():
            try:
                return _read(folder, read), True
            except _Damaged as error:
                reporter.say(f"{folder} is damaged and is built again: {error}")
                _remove(folder)
        beside = folder.with_name(f".{folder.name}.part")
        if beside.exists():
            reporter.say(f"removing {beside}, left by an interrupted process")
            _remove(beside)
        beside.mkdir()
        build(beside)
        _sync(beside)
        rename_durably(beside, folder)
        return read(folder), False


class _Damaged(Exception):
    """`read` failed on content that an interrupted process may have left."""


def _read(folder: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(folder)
    except AlteredError as error:
        raise ValueError(f"{error}; remove {folder} to have it built again") from error
    except (ValueError, OSError) as error:
        raise _Damaged(str(error)) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sync(folder: Path) -> None:
    """Sync all files and directories in a folder."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_directory(path)
        else:
            sync_file(path)
