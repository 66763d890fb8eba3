"""Write files that are complete or absent, also after a power cut.

Stage: beside every stage that leaves a binary file. Mode bits follow the umask.
"""

import os
from pathlib import Path


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is complete or absent, also after a power cut."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_bytes_durably(beside, data)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_bytes_durably(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the disk has the directory's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
