"""Load machine code from disk only if it is intact and trustworthy.

Stage: none; the cache files of every kernel are read and written here. Numba keeps machine code in
pickles and loads whatever is there: damaged code crashes the process, and a stranger's code runs
with all rights of its user. So each file ends in a hash of its content, and file and folder must
belong to this user, to root or to the owner of the sources, and be writable by nobody who could not
write to the sources. Not here: which code is stale (`compiling`).
"""

import atexit
import hashlib
import inspect
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile

_HAS_OWNERS = hasattr(os, "geteuid")  # false on Windows
_SEAL_BYTES = hashlib.sha256().digest_size

NOT_KEPT = (
    "compiled code is not kept for the next process: {reason}; set NUMBA_CACHE_DIR to a folder"
)

_log = logging.getLogger("bpe")


def _is_possible(place: type) -> bool:
    """Whether Numba may cache code in such a place: without a home directory, it would be `./~`."""
    if not place.__name__.endswith("UserWideCacheLocator") or "XDG_CACHE_HOME" in os.environ:
        return True
    return os.path.expanduser("~") != "~"  # noqa: PTH111 - as Numba does it


class _Places(CompileResultCacheImpl):
    _locator_classes = tuple(filter(_is_possible, CompileResultCacheImpl._locator_classes))


class KernelCache(FunctionCache):
    """Numba's cache of one function, restricted to files that are intact and ours.

    Kept code with another stamp is stale.

    Raises:
        RuntimeError: no folder for it is writable.
    """

    _impl_class = _Places

    def __init__(self, function: Callable[..., Any], stamp: str) -> None:
        super().__init__(function)
        sources = Path(inspect.getfile(function)).parent
        self._cache_path = str(_place(Path(self._cache_path), sources))
        self._cache_file = _SealedFiles(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=stamp,
            sources=sources,
        )

    def holds(self, target: Any) -> bool:
        """Whether code for a CPU, as Numba describes it, can be loaded."""
        return self._cache_file.holds(target)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code; this process has it even if it cannot be written to disk."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            report(NOT_KEPT.format(reason=str(error)))


class _SealedFiles(IndexDataCacheFile):
    """An index that names a file of code per signature and CPU; each file ends in a seal."""

    def __init__(self, *, sources: Path, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._sources = sources

    def holds(self, target: Any) -> bool:
        kept = self._load_index().items()
        return any(key[1] == target and self._is_usable(self._data_path(at)) for key, at in kept)

    def load(self, key: Any) -> Any:
        name = self._load_index().get(key)
        if name is None or not self._is_usable(self._data_path(name)):
            return None
        return self._load_data(name)

    def save(self, key: Any, data: Any) -> None:
        # Numba numbers the files: if two processes save at once, one would load the other's code.
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        name = self._data_name_pattern.replace("{number:d}", digest)
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})

    def _load_index(self) -> dict[Any, str]:
        return super()._load_index() if self._is_usable(self._index_path) else {}

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[Any]:
        content = BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + self._seal(filepath, content.getvalue()))
            Path(file.name).chmod(0o644)  # regardless of the umask

    def _is_usable(self, path: str) -> bool:
        """Whether a file exists, intact and ours; Numba ignores whatever follows its pickle."""
        try:
            reason = _why_not_ours(Path(path), self._sources)
            content = Path(path).read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            reason, content = f"{error.strerror}", b""
        sealed, seal = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
        if reason is None and seal != self._seal(path, sealed):
            reason = "damaged, or written by an earlier version"
        if reason is not None:
            report(f"not loading compiled kernels from {self._cache_path}: {reason}")
        return reason is None

    def _seal(self, path: str, content: bytes) -> bytes:
        """Hash a content with its name, and code with its stamp (an index holds its own)."""
        context = [Path(path).name, "" if path == self._index_path else self._source_stamp]
        return hashlib.sha256("\n".join(context).encode() + content).digest()


@cache
def _place(folder: Path, sources: Path) -> Path:
    """Return `folder`, or a temporary one for this process if others can write to it."""
    try:
        reason = _why_not_ours(folder, sources)
        if reason is None or _close(folder, sources):
            return folder
    except OSError as error:
        reason = f"{error.strerror}"
    report(
        f"not keeping compiled kernels in {folder}: {reason}; they are compiled for this process "
        "only; set NUMBA_CACHE_DIR to a folder of your own to keep them"
    )
    own = tempfile.mkdtemp(prefix="kernels-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(own)


def _why_not_ours(path: Path, sources: Path) -> str | None:
    """Return why others could have put anything here; None if they could not."""
    if not _HAS_OWNERS:
        return None
    owners = {path.lstat().st_uid, path.stat().st_uid}  # of a link and of its target
    if strangers := owners - _trusted(sources):
        return f"owned by user {min(strangers)}"
    if _open_bits(path, sources):
        return f"others can write there (mode {stat.S_IMODE(path.stat().st_mode):o})"
    return None


def _trusted(sources: Path) -> set[int]:
    return {os.geteuid(), 0, sources.stat().st_uid}


def _open_bits(path: Path, sources: Path) -> int:
    """Return the write permissions of those who cannot write to the sources."""
    here, there = path.stat(), sources.stat()
    allowed = there.st_mode if here.st_gid == there.st_gid else there.st_mode & ~stat.S_IWGRP
    return here.st_mode & (stat.S_IWGRP | stat.S_IWOTH) & ~allowed


def _close(folder: Path, sources: Path) -> bool:
    """Make our folder writable by nobody else, and trust nothing that is already in it."""
    if {folder.lstat().st_uid, folder.stat().st_uid} - _trusted(sources):
        return False
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~_open_bits(folder, sources))
    if kept := list(folder.glob("*.nb[ic]")):
        for path in kept:
            path.unlink()
        report(f"others could write to {folder}: closed it to them; kernels are compiled again")
    return True


@cache
def report(what: str) -> None:
    """Log a warning, once per process."""
    _log.warning("%s", what)
