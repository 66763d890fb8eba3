"""Lock a file so that one process at a time works on a shared folder.

Stage: under downloads, prepared data and runs. The lock belongs to the open file, so it ends with
its process, however that ends; the file's content only names the holder. Not here: file systems
that do not share locks between machines.
"""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path

if os.name == "nt":
    import msvcrt

    def _lock(descriptor: int, *, wait: bool) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)

else:
    try:
        import fcntl
    except ImportError:  # Python was built without it: the process holds the lock, not the file
        fcntl = None

    def _lock(descriptor: int, *, wait: bool) -> None:
        if fcntl is None:
            os.lseek(descriptor, 0, os.SEEK_SET)  # lockf locks from the current position
            os.lockf(descriptor, os.F_LOCK if wait else os.F_TLOCK, 0)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextmanager
def file_lock(path: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock on `path`, which is created if missing; `on_wait` is called before waiting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            _lock(file.fileno(), wait=False)
        except OSError:
            on_wait()
            _lock(file.fileno(), wait=True)
        yield


class InUseError(ValueError):
    """Another process holds the lock."""


@contextmanager
def exclusive_lock(path: Path, *, what: str) -> Iterator[str | None]:
    """Hold a lock on `path` that names its holder, or refuse at once; yield a holder that died.

    Args:
        path: created if missing; its folder exists.
        what: what is locked, for the message.

    Raises:
        InUseError: another process holds the lock; the message names it and its machine.
    """
    with path.open("a+b", buffering=0) as file:
        try:
            _lock(file.fileno(), wait=False)
        except BlockingIOError as error:
            raise InUseError(
                f"{what} is in use by {_owner(file) or 'another process'}; wait for it or stop it"
            ) from error
        stale = _owner(file)
        file.truncate(0)
        with suppress(OSError):  # on a full disk, the lock does not name its holder
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        try:
            yield stale
        finally:
            file.truncate(0)


def lock_holder(path: Path) -> str | None:
    """Return who holds an `exclusive_lock` now; None: it is free. Changes nothing."""
    if not path.is_file():
        return None
    with path.open("r+b", buffering=0) as file:
        try:
            _lock(file.fileno(), wait=False)
        except BlockingIOError:
            return _owner(file) or "another process"
    return None


def _owner(file: RawIOBase) -> str | None:
    """Read who holds or held a lock; None: no one, or the name is unreadable."""
    # Not opened a second time: closing that descriptor would release a process-wide lock.
    try:
        file.seek(0)
        owner = json.loads(file.readall())
        return f"process {owner['pid']:d} on {owner['host']}"
    except (OSError, ValueError, TypeError, KeyError):
        return None
