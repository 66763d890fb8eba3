"""Let one process at a time do a piece of work on a shared folder.

Stage: under downloads, prepared data and runs. The lock belongs to the open file, so it vanishes
with its process however that ends; what the file says is only who holds it. Not here: machines
whose file system does not share locks.
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
    except ImportError:  # a Python built without it: the lock is of the process then, not the file
        fcntl = None

    def _lock(descriptor: int, *, wait: bool) -> None:
        if fcntl is None:
            os.lseek(descriptor, 0, os.SEEK_SET)  # it is locked from there on
            os.lockf(descriptor, os.F_LOCK if wait else os.F_TLOCK, 0)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextmanager
def file_lock(path: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold `path` as a lock for the length of the block.

    Args:
        path: created where it is missing, and left behind empty.
        on_wait: called once where another process holds the lock, before waiting for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            _lock(file.fileno(), wait=False)
        except OSError:
            on_wait()
            _lock(file.fileno(), wait=True)
        yield


class InUseError(ValueError):
    """Another process is at it."""


@contextmanager
def exclusive_lock(path: Path, *, what: str) -> Iterator[str | None]:
    """Hold `path` as a lock that says whose it is, or refuse at once; yields a stale owner.

    Args:
        path: created where it is missing; its folder exists.
        what: is locked, for the message.

    Raises:
        InUseError: another process holds the lock; the message names its number and machine.
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
        with suppress(OSError):  # a full disk: the lock holds without its holder's name
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        try:
            yield stale
        finally:
            file.truncate(0)


def lock_holder(path: Path) -> str | None:
    """Return who holds an `exclusive_lock` at this moment; None: nobody. Changes nothing."""
    if not path.is_file():
        return None
    with path.open("r+b", buffering=0) as file:
        try:
            _lock(file.fileno(), wait=False)
        except BlockingIOError:
            return _owner(file) or "another process"
    return None


def _owner(file: RawIOBase) -> str | None:
    """Read who holds or held a lock; None: nobody, or it can't be read.

    The file is not opened once more: a lock of the process would end when that is closed.
    """
    try:
        file.seek(0)
        owner = json.loads(file.readall())
        return f"process {owner['pid']:d} on {owner['host']}"
    except (OSError, ValueError, TypeError, KeyError):
        return None
