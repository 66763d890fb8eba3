"""How does a file become complete or stay absent?

Stage: none; the commands write their plans and charts here. Not here: formats.
"""

import os
from pathlib import Path


def write_text_atomically(path: Path, text: str) -> None:
    """Write a file beside `path`, bring it to the disk and give it its name.

    One process at a time writes to a path; what a stopped one left beside it is written over.

    Raises:
        OSError: the disk refused; it names `path`, and what was there before is there.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return  # other systems cannot open a directory
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
