"""How does a file come to be complete or absent?

Stage: none; every stage that writes goes through here. Not here: formats.
"""

import os
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, flush it to disk and rename it into place.

    The mode is that of any new file under the process's umask. A failure leaves `path` as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)  # the name that the user knows
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Flush a directory to disk, so that renames in it outlive a power cut."""
    if os.name != "posix":
        return  # other systems cannot open a directory
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
