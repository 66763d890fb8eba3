"""Write files that are complete or absent.

Stage: none; every file that is kept is written here. Not here: formats.
"""

import json
from pathlib import Path

from bpe.formats import files


def write_json(path: Path, document: object) -> None:
    """Write a document as JSON, complete or absent."""
    write_atomically(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whose folder may be missing, complete or not at all."""
    files.make_directory(path.parent)
    files.write_atomically(path, content)
