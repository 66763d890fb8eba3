"""A disk that fails on request: the layer under every fault test.

Inside `with Disk(root, ...)`, every operation below `root` that changes the disk is counted,
recorded and, where asked, fails: the functions of `os`, and files opened for writing by `open` or
`Path.open`. Reading is left alone. Forked children inherit the layer, with their own count.

    operations = record(root, save)                       what a save does, in order
    with Disk(root, at=3, fault="ENOSPC"):                its 4th operation fails, once
    with Disk(root, at=3, fault="EIO", for_good=True):    that and every later one
    killed_at(3, root, save)                              SIGKILL in place of the 4th, in a fork
    for n, fault in every_fault(operations):              all that applies; skips what can't happen
    crash_states(before, operations)                      what a power cut may leave (`power.py`)

A fault is the name of an errno, or: `short` (half of the bytes are written, and reported),
`torn` (half, then ENOSPC), `kill`, `kill torn` (half, then SIGKILL). ENOSPC and its like only meet
operations that need space; EIO meets all. Linux only: paths come from /proc.
"""

# This is what lies below pathlib.
# ruff: noqa: PTH100, PTH115, PTH118

import errno
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

ERRNOS = ("ENOSPC", "EDQUOT", "EFBIG", "EIO")
"""Errors that a disk gives."""
_NEED_SPACE = frozenset({"open", "write", "fsync", "truncate", "mkdir", "rename"})
_GROW = frozenset({"write"})
_MEETS = {"ENOSPC": _NEED_SPACE, "EDQUOT": _NEED_SPACE, "EFBIG": _GROW}
_MEETS |= dict.fromkeys(("short", "torn", "kill torn"), _GROW)


@dataclass(frozen=True)
class Operation:
    """One change of the disk; paths are relative to the root."""

    name: str
    """open (for writing), write, fsync, truncate, mkdir, rename, unlink, rmdir."""
    path: str
    target: str = ""
    """rename: the new path."""
    data: bytes = b""
    """write: the bytes that went through."""
    offset: int = 0
    """write: where; truncate: the new length."""
    truncates: bool = False
    """open: whether the content goes."""


class Disk:
    """While entered, the disk below `root`.

    Args:
        root: a directory; nothing outside of it is touched.
        at: which operation meets the fault, counted from 0; None: none does.
        fault: see above.
        for_good: every later operation that can meet the fault meets it too.
    """

    def __init__(
        self, root: Path, *, at: int | None = None, fault: str = "EIO", for_good: bool = False
    ) -> None:
        self.operations: list[Operation] = []
        self._root = os.path.realpath(root)
        self._at, self._fault, self._for_good = at, fault, for_good
        self._lock = threading.RLock()
        self._count = 0
        self._patches: list[Any] = []

    def __enter__(self) -> "Disk":
        self._real = {name: getattr(os, name) for name in _PATCHED}
        self._real_open = io.open
        for name in _PATCHED:
            self._patches.append(mock.patch.object(os, name, getattr(self, f"_{name}")))
        self._patches.append(mock.patch.object(io, "open", self._open_file))
        self._patches.append(mock.patch("builtins.open", self._open_file))
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *error: object) -> None:
        while self._patches:
            self._patches.pop().stop()

    def _meet(self, name: str, path: str, size: int = 0) -> int:
        """Count an operation; return how many bytes it may write, or raise, or die."""
        number, self._count = self._count, self._count + 1
        due = self._at is not None and (
            number == self._at or (self._for_good and number > self._at)
        )
        if not due or not applies(self._fault, name):
            return size
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault in ERRNOS:
            code = getattr(errno, self._fault)
            raise OSError(code, os.strerror(code), os.path.join(self._root, path))
        return -(-size // 2)

    def _after_write(self, written: int, size: int) -> None:
        if written < size and self._fault == "kill torn":
            os.kill(os.getpid(), signal.SIGKILL)
        if written < size and self._fault == "torn":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _record(self, name: str, path: str, **about: Any) -> None:
        self.operations.append(Operation(name, path, **about))

    def _inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Return `path` relative to the root; None: it is elsewhere."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        path = os.fsdecode(path)
        if dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
        folder, name = os.path.split(os.path.abspath(path))
        path = os.path.join(os.path.realpath(folder), name)
        return (
            os.path.relpath(path, self._root) if f"{path}/".startswith(self._root + "/") else None
        )

    def _exists(self, inside: str) -> bool:
        return os.path.lexists(os.path.join(self._root, inside))

    def _one(self, name: str, real: str, path: Any, *rest: Any, **options: Any) -> Any:
        inside = self._inside(path, options.get("dir_fd"))
        # What is bound to fail by itself changes nothing, so it does not count.
        if inside is None or self._exists(inside) == (name == "mkdir"):
            return self._real[real](path, *rest, **options)
        with self._lock:
            self._meet(name, inside)
            result = self._real[real](path, *rest, **options)
            self._record(name, inside)
            return result

    def _mkdir(self, path: Any, *rest: Any, **options: Any) -> None:
        self._one("mkdir", "mkdir", path, *rest, **options)

    def _unlink(self, path: Any, **options: Any) -> None:
        self._one("unlink", "unlink", path, **options)

    def _remove(self, path: Any, **options: Any) -> None:
        self._one("unlink", "remove", path, **options)

    def _rmdir(self, path: Any, **options: Any) -> None:
        self._one("rmdir", "rmdir", path, **options)

    def _fsync(self, descriptor: Any) -> None:
        descriptor = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        self._one("fsync", "fsync", descriptor)

    def _rename(self, source: Any, target: Any, **options: Any) -> None:
        inside, to = self._inside(source), self._inside(target)
        if inside is None or to is None or not self._exists(inside):
            return self._real["replace"](source, target, **options)
        with self._lock:
            self._meet("rename", inside)
            self._real["replace"](source, target, **options)
            self._record("rename", inside, target=to)

    _replace = _rename

    def _truncate(self, path: Any, length: int) -> None:
        inside = self._inside(path)
        if inside is None:
            return self._real["truncate"](path, length)
        with self._lock:
            self._meet("truncate", inside)
            self._real["truncate"](path, length)
            self._record("truncate", inside, offset=length)

    _ftruncate = _truncate

    def _write(self, descriptor: int, data: Any) -> int:
        inside = self._inside(descriptor)
        if inside is None:
            return self._real["write"](descriptor, data)
        with self._lock:
            view = memoryview(data).cast("B")
            allowed = self._meet("write", inside, len(view))
            offset = os.lseek(descriptor, 0, os.SEEK_CUR)
            written = self._real["write"](descriptor, view[:allowed])
            self._record("write", inside, data=bytes(view[:written]), offset=offset)
            self._after_write(written, len(view))
            return written

    def _open(self, path: Any, flags: int, *rest: Any, **options: Any) -> int:
        inside = self._inside(path, options.get("dir_fd"))
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        if inside is None or not writes:
            return self._real["open"](path, flags, *rest, **options)
        with self._lock:
            self._meet("open", inside)
            descriptor = self._real["open"](path, flags, *rest, **options)
            self._record("open", inside, truncates=bool(flags & os.O_TRUNC))
            return descriptor

    def _open_file(
        self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any
    ) -> Any:
        """Open as `io.open` does, but write through the `os` above."""
        if not set(mode) & set("wax+") or isinstance(file, int) or self._inside(file) is None:
            return self._real_open(file, mode, buffering, *rest, **options)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), opener=_opener)
        if buffering == 0:
            return raw
        buffered: BinaryIO = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)  # type: ignore[assignment]
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **options)


_PATCHED = (
    *("open", "write", "fsync", "truncate", "ftruncate"),
    *("mkdir", "rename", "replace", "unlink", "remove", "rmdir"),
)


class _Raw(io.FileIO):
    """An unbuffered file whose writes go through `os.write`, which the layer replaces."""

    def write(self, data: Any) -> int:
        return os.write(self.fileno(), data)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        os.ftruncate(self.fileno(), size)
        return size


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o666)


def applies(fault: str, name: str) -> bool:
    """Whether an operation can meet a fault at all."""
    return name in _MEETS.get(fault, {name})


def record(root: Path, action: Callable[[], object]) -> list[Operation]:
    """Return what `action` does below `root`, nothing failing."""
    with Disk(root) as disk:
        action()
    return disk.operations


def every_fault(operations: list[Operation], *faults: str) -> Iterator[tuple[int, str]]:
    """Pair each operation's number with each fault it can meet; by default each except kills."""
    for number, operation in enumerate(operations):
        for fault in faults or (*ERRNOS, "short", "torn"):
            if applies(fault, operation.name):
                yield number, fault


def killed_at(
    number: int, root: Path, action: Callable[[], object], *, fault: str = "kill"
) -> bool:
    """Run `action` in a forked child that is killed at an operation.

    Returns:
        Whether it was; False: it ended before it got that far.

    Raises:
        RuntimeError: the action failed; the child has printed why.
    """

    def act() -> None:
        with Disk(root, at=number, fault=fault):
            action()

    status = in_fork(act)
    if status > 0:
        raise RuntimeError(f"the action failed in the child, status {status}; see its output")
    return status == -signal.SIGKILL


def in_fork(action: Callable[[], object]) -> int:
    """Run `action` in a forked child; return its status, minus the signal if one ended it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside torch's idle threads
        child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
