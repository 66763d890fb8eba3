"""Record a directory's files by length and SHA-256, so that damage to any of them shows.

Stage: last file of a checkpoint. A manifest is itself sealed by a hash and has only one spelling,
so no bit of it can change unnoticed. Not here: whether the content makes sense.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainer.storage.file_format import require_format

NAME = "manifest.json"
FORMAT, VERSION = "trainer.manifest", 1

_BLOCK_BYTES = 1 << 22


def manifest_bytes(files: Mapping[str, Iterable[bytes | memoryview]]) -> bytes:
    """Return the manifest of files, each given in parts.

    >>> manifest_bytes({"a": [b"text"]}).startswith(b'{"files":{"a":{"bytes":4,"sha256":"982d')
    True
    """
    return _spell({name: _describe(parts) for name, parts in files.items()})


def require_whole(directory: Path, *, hashes: bool = True) -> None:
    """Insist that a directory's manifest and all files that it names are as they were written.

    Without `hashes`, only the lengths of the files are checked.

    Raises:
        ValueError: a file is damaged.
        OSError: a file is missing or can't be read.
    """
    for name, recorded in read_manifest(directory).items():
        path = directory / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ValueError(f"{name} is a link, or not a regular file; put the file itself there")
        size = path.stat().st_size
        if size != recorded["bytes"]:
            raise ValueError(f"{name} has {size} bytes and not {recorded['bytes']}")
        if hashes and _describe(_blocks(path))["sha256"] != recorded["sha256"]:
            raise ValueError(f"{name} is damaged: its SHA-256 is not the recorded one")


def read_manifest(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the recorded length and SHA-256 of each file, by name.

    Raises:
        ValueError: the manifest is not one that was written, bit for bit.
        OSError: it is missing or can't be read.
    """
    data = (directory / NAME).read_bytes()
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{NAME} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{NAME} is not a JSON object")
    require_format(document, name=FORMAT, version=VERSION, source=directory / NAME)
    files = document.get("files")
    try:
        spelled = _spell(files)
    except (ValueError, RecursionError):  # numbers and strings unlike a manifest's
        spelled = None
    if not isinstance(files, dict) or spelled != data:
        raise ValueError(f"{NAME} is damaged: its SHA-256 is not the recorded one")
    # The seal shows that it is whole, not that it is trustworthy.
    for name, recorded in files.items():
        if Path(name).name != name or not isinstance(recorded, dict):
            raise ValueError(f"{NAME} names {name!r}, which is not a file beside it")
        if recorded.keys() != {"bytes", "sha256"}:
            raise ValueError(f"{NAME} lacks length and SHA-256 of {name}")
    return files


def _spell(files: object) -> bytes:
    document = {"files": files, "format": FORMAT, "version": VERSION}
    seal = hashlib.sha256(_to_json(document)).hexdigest()
    return _to_json({**document, "sha256": seal})


def _to_json(document: Mapping[str, object]) -> bytes:
    text = json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.encode() + b"\n"


def _describe(parts: Iterable[bytes | memoryview]) -> dict[str, object]:
    size, digest = 0, hashlib.sha256()
    for part in parts:
        size += len(part)
        digest.update(part)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _blocks(path: Path) -> Iterable[memoryview]:
    block = bytearray(_BLOCK_BYTES)
    view = memoryview(block)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            yield view[:count]
