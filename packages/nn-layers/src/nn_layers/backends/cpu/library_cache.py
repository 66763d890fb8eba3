"""Keep compiled libraries where nobody else can write, and return only whole ones.

Stage: compiled library -> *file in a cache folder* -> the same library in another process. Loaded
code has all rights of its user, and damaged code ends the process. So the name of a library ends in
a hash of its content, and file and folder must belong to this user or root. Not here: compiling and
loading (`build`).
"""

import atexit
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_HAS_OWNERS = hasattr(os, "geteuid")  # Windows has none

_log = logging.getLogger("nn_layers")


def find_library(name: str) -> Path | None:
    """Return the library that is kept as `name`, or None if there is none to trust."""
    for path in _kept_as(name, _cache_folder()):
        if (reason := _why_not_usable(path, name)) is None:
            return path
        report_once(f"not loading {path}: {reason}; it is rebuilt")
    return None


def make_library(name: str, build: Callable[[Path], None]) -> Path:
    """Let `build` write a library to a path, keep it as `name`, and return its place.

    Several processes may do so at the same time: a library gets its name when it is whole.
    """
    _wanted_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = _cache_folder()
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        draft = Path(beside, name)
        build(draft)
        draft.chmod(0o755)  # whatever the umask
        kept = draft.replace(folder / f"{name}-{_seal(draft, name)}.so")
    for path in _kept_as(name, folder):
        if _why_not_usable(path, name) is not None:
            with suppress(OSError):  # only litter
                path.unlink()
    return kept


@cache
def report_once(what: str) -> None:
    """Log a warning once per process."""
    _log.warning("%s", what)


def _kept_as(name: str, folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{name}-*.so"))


def _seal(path: Path, name: str) -> str:
    return hashlib.sha256(name.encode() + b"\n" + path.read_bytes()).hexdigest()[:16]


def _why_not_usable(path: Path, name: str) -> str | None:
    try:
        if (owner := _stranger(path)) is not None:
            return f"it belongs to user {owner}"
        if _is_open(path):
            return "others may write to it"
        if path.stem != f"{name}-{_seal(path, name)}":
            return "it is damaged (its content does not have the hash in its name)"
    except OSError as error:
        return str(error)
    return None


def _cache_folder() -> Path:
    """Return the folder of libraries: one of this process only if others can write to ours."""
    folder = _wanted_folder()
    if not folder.exists():
        return folder
    if (owner := _stranger(folder)) is not None:
        reason = f"it belongs to user {owner}"
    elif _is_open(folder) and not _close(folder):
        reason = "others may write to it"
    else:
        return folder
    report_once(
        f"not using {folder}: {reason}; compiled code is built for this process only, unless "
        "XDG_CACHE_HOME names another folder"
    )
    return _own_folder()


def _wanted_folder() -> Path:
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base, "nn-layers")
    try:
        return Path.home() / ".cache" / "nn-layers"
    except RuntimeError:
        report_once(
            "no home directory is known to keep compiled code in: it is built for this process "
            "only, unless XDG_CACHE_HOME names a folder"
        )
        return _own_folder()


@cache
def _own_folder() -> Path:
    own = tempfile.mkdtemp(prefix="nn-layers-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(own)


def _stranger(path: Path) -> int | None:
    """Return another user, not root, who owns a path, or None."""
    owners = {path.lstat().st_uid, path.stat().st_uid}  # of a link, and where it leads
    if not _HAS_OWNERS or owners <= (trusted := {os.geteuid(), 0}):
        return None
    return min(owners - trusted)


def _is_open(path: Path) -> bool:
    return _HAS_OWNERS and bool(path.stat().st_mode & _WRITABLE_BY_OTHERS)


def _close(folder: Path) -> bool:
    """Close our folder to other users, and remove the libraries that are there already."""
    if folder.stat().st_uid != os.geteuid():
        return False
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~_WRITABLE_BY_OTHERS)
    if kept := list(folder.glob("*.so")):
        for path in kept:
            path.unlink()
        report_once(
            f"others could write to {folder}: it is closed to them, and libraries are rebuilt"
        )
    return True
