"""Identify files by their stated format and version, and by the hash of their bytes.

Stage: under every stage that reads a file back. Not here: what the files contain.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def require_format(
    found: Mapping[str, Any], *, name: str, version: int, source: str | Path
) -> None:
    """Require the format and version that this code reads.

    Raises:
        ValueError: the file states another format or version, or none.
    """
    stated = (found.get("format"), str(found.get("version")))
    if stated != (name, str(version)):
        raise ValueError(
            f"{source} is of format {stated[0]!r} version {stated[1]}, but {name!r} version "
            f"{version} is needed; read it with the release that wrote it"
        )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
