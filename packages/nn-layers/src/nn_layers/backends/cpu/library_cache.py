"""Keep compiled libraries where nobody else can write, and hand out none that is not whole.

Stage: compiled library -> *file in a cache folder* -> the same library in another process. Loaded
code runs with all rights of its user, and damaged code takes the process down. So the name of a
library ends in a hash of its content, and file and folder must belong to this user or root. Not
here: compiling and loading (`build`).
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
_HAS_OWNERS = hasattr(os, "geteuid")  # Windows has other means

_log = logging.getLogger("nn_layers")


def find_library(name: str) -> Path | None:
    """Return the library that is kept as `name`, or None where there is none to be trusted.

    Raises:
        OSError: the cache folder cannot be read.
    """
    for path in _kept_as(name, _cache_folder()):
        if (reason := _why_not_usable(path, name)) is None:
            return path
        report_once(f"not loading {path}: {reason}; it is built anew")
    return None


def make_library(name: str, build: Callable[[Path], None]) -> Path:
    """Build a library, keep it as `name`, and return where.

    Whoever builds the same at the same time does no harm: a library has its name when it is whole.

    Args:
        name: what `find_library` finds it by.
        build: writes the library to the path that it is given.

    Raises:
        OSError: the cache folder cannot be written.
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
    """Warn in the log, once in a process, however often it is met."""
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
    """Return where libraries are kept; a folder of this process alone where others have a say."""
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
    """Return who else but this user and root says what is there, None where nobody does."""
    owners = {path.lstat().st_uid, path.stat().st_uid}  # of a link, and where it leads
    if not _HAS_OWNERS or owners <= (trusted := {os.geteuid(), 0}):
        return None
    return min(owners - trusted)


def _is_open(path: Path) -> bool:
    return _HAS_OWNERS and bool(path.stat().st_mode & _WRITABLE_BY_OTHERS)


def _close(folder: Path) -> bool:
    """Let nobody else write to our folder any more, and trust nothing that is there already."""
    if folder.stat().st_uid != os.geteuid():
        return False
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~_WRITABLE_BY_OTHERS)
    if kept := list(folder.glob("*.so")):
        for path in kept:
            path.unlink()
        report_once(
            f"others could write to {folder}: it is closed to them, and libraries built anew"
        )
    return True
