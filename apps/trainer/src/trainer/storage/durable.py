"""Write files that are complete or absent, even after a power cut.

Stage: under every stage that writes a file. A file is written beside its final place, synced and
renamed, and its directory is synced; only then does the call return. Mode bits follow the umask.
Not covered: drives that acknowledge writes still in their own cache.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from bpe.formats.files import Staging, naming, sync_directory

TEMPORARY = ".tmp"
"""Suffix of a directory that is unfinished or about to be deleted."""

UNFINISHED = (TEMPORARY, ".part")
"""Suffixes of what an interrupted process may leave."""


def write_atomically(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write or replace a file; on failure, the previous one stays.

    Leftovers of interrupted processes beside it are removed.

    Raises:
        OSError: the disk refused; it names `path`.
    """
    with Staging() as staging:
        file = staging.open(path)
        for part in parts:
            file.write(memoryview(part).cast("B"))
        staging.commit()


def write_durably(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a new file and sync its bytes; its name still needs `sync_directory`.

    Raises:
        OSError: the disk refused, or the file exists; it names `path`.
    """
    with naming(path), path.open("xb", buffering=0) as file:
        for part in parts:
            _write_all(file.fileno(), memoryview(part).cast("B"))
        os.fsync(file.fileno())


def append(path: Path, data: bytes) -> None:
    """Append all of `data` or nothing; not synced, so a power cut may lose the end."""
    with naming(path), path.open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            _write_all(file.fileno(), memoryview(data))
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise


def sync_file(path: Path) -> None:
    """Sync the bytes of a file."""
    with path.open("r+b", buffering=0) as file:
        os.fsync(file.fileno())


def rename_durably(path: Path, target: Path) -> None:
    """Rename within a directory and sync the new name."""
    path.rename(target)
    sync_directory(target.parent)


def remove(path: Path) -> None:
    """Remove a file or a directory tree.

    A directory is renamed first: half a deletion must not look like damage.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    doomed = path
    if not path.name.endswith(TEMPORARY):
        doomed = path.with_name(f"{path.name}.removed{TEMPORARY}")
        path.rename(doomed)
    shutil.rmtree(doomed)


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:  # one call may write only part of it
        data = data[os.write(descriptor, data) :]
