"""Build a folder once, complete or absent, whoever else wants it at the same time.

Stage: under prepared text, tokenizers and token files. Not here: what is in them.
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
    """A finished folder holds something else than what was put there."""


def open_or_build(
    folder: Path,
    *,
    read: Callable[[Path], T],
    build: Callable[[Path], object],
    reporter: Reporter,
) -> tuple[T, bool]:
    """Return what `read` makes of the folder, and whether the folder was there already.

    The folder is built beside, synced and renamed, so neither a killed process nor a power cut
    leaves anything that looks complete. A second process waits for the first and finds its work.

    Args:
        folder: named by everything that its content follows from.
        read: raises ValueError or OSError where the content is incomplete; it is then built again.
        build: fills the empty folder that it is given.
        reporter: hears of damage and of waiting.

    Raises:
        ValueError: `read` raised `AlteredError`. No stopped process leaves such content, so nothing
            is overwritten; the message names the folder to remove.
    """
    if folder.exists():
        # A finished folder may lie on a disk that is read-only, where no lock can be made.
        with contextlib.suppress(_Damaged):
            return _read(folder, read), True
    make_directory(folder.parent)
    lock = folder.with_name(f".{folder.name}.lock")
    with file_lock(lock, on_wait=lambda: reporter.say(f"another process builds {folder}; waiting")):
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
    """What `read` raised: a stopped process may have left this content."""


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
    """Wait until the disk has all that is in a folder, and all names of it."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_directory(path)
        else:
            sync_file(path)
