"""Insist on the format and version that a file states.

Stage: beside every file that a run leaves. Not here: the content of any of them.
"""

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
