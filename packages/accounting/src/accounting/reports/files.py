"""Write files that are complete or absent.

Stage: none; the commands write their plans and charts here. Not here: formats.
"""

import os
from pathlib import Path


def write_text_atomically(path: Path, text: str) -> None:
    """Write a file beside `path`, sync it to disk and rename it.

    Only one process may write to a path at a time; remains of a stopped one are overwritten.

    Raises:
        OSError: writing failed; the error names `path`, whose old content is unchanged.
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
