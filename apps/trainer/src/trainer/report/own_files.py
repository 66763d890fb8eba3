"""Recognise the files that the trainer's programs leave beside run directories.

Stage: paths from a shell's `STUDY/trials/*` -> *those that are runs*. Unknown files are not
recognised, so that a mistyped path is reported and not skipped.
"""

import json
from pathlib import Path

_LOCKED = ("", ".json")  # a trial's lock lies beside its run, or beside its outcome only
_PAGE = b'<!doctype html>\n<html lang="en">'


def is_left_beside_runs(path: Path) -> bool:
    """Whether a file is a lock, a record or a page that one of the programs wrote."""
    if not path.is_file():
        return False
    if path.suffix == ".lock":
        is_of_study = (path.parent / "study.json").exists()
        return is_of_study or any(path.with_suffix(suffix).exists() for suffix in _LOCKED)
    if path.suffix == ".json":
        return _is_record(path)
    if path.suffix == ".html":
        with path.open("rb") as file:
            return file.read(len(_PAGE)) == _PAGE
    return path.name == "optuna.journal"


def _is_record(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(document, dict) and str(document.get("format")).startswith("trainer.")
