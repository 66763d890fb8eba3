"""Change the disk so that what is there is complete or absent, also after a power cut.

Stage: beside every stage that leaves a file. A file is written beside its place, synced, renamed,
and its directory synced; only then is it acknowledged. Mode bits follow the umask. Not promised:
drives that acknowledge what is still in their own cache.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from bpe.formats.files import Staging, naming, sync_directory

TEMPORARY = ".tmp"
"""How the name of a directory ends that is not finished, or not wanted any more."""

UNFINISHED = (TEMPORARY, ".part")
"""How names end of what a stopped process may leave."""


def write_atomically(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Put a file into place, complete; a failure leaves what was there before.

    What a process left beside it that was stopped meanwhile is removed.

    Raises:
        OSError: the disk refused; it names `path`.
    """
    with Staging() as staging:
        file = staging.open(path)
        for part in parts:
            file.write(memoryview(part).cast("B"))
        staging.commit()


def write_durably(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a new file, and wait until the disk has its bytes; its name needs `sync_directory`.

    Raises:
        OSError: the disk refused, or the file exists; it names `path`.
    """
    with naming(path), path.open("xb", buffering=0) as file:
        for part in parts:
            _write_all(file.fileno(), memoryview(part).cast("B"))
        os.fsync(file.fileno())


def append(path: Path, data: bytes) -> None:
    """Append to a file, all of `data` or nothing; not synced, so a power cut may cost its end."""
    with naming(path), path.open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            _write_all(file.fileno(), memoryview(data))
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise


def sync_file(path: Path) -> None:
    """Wait until the disk has the bytes of a file."""
    with path.open("r+b", buffering=0) as file:
        os.fsync(file.fileno())


def rename_durably(path: Path, target: Path) -> None:
    """Rename within a directory, and wait until the disk has the new name."""
    path.rename(target)
    sync_directory(target.parent)


def remove(path: Path) -> None:
    """Remove a file or a directory with all that is in it.

    A directory loses its name first: half a deletion must not look like a damaged one.
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
    """Write everything: a call may take less than it is given."""
    while data:
        data = data[os.write(descriptor, data) :]
