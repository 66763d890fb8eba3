"""Tell a file from others: by the format and version that it states, by the hash of its bytes.

Stage: beside every file that a run leaves. Not here: the content of any of them.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def require_format(
    found: Mapping[str, Any], *, name: str, version: int, source: str | Path
) -> None:
    """Insist that a file says the format and version that this code reads.

    Raises:
        ValueError: it says another, or none.
    """
    said = (found.get("format"), str(found.get("version")))
    if said != (name, str(version)):
        raise ValueError(
            f"{source} is of format {said[0]!r} version {said[1]}, but {name!r} version {version} "
            "is needed; read it with the release that wrote it"
        )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
