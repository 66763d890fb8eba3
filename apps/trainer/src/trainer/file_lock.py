"""Let one process at a time do a piece of work on a shared folder.

Stage: under downloads and prepared data. The lock belongs to the open file, so it vanishes with its
process however that ends; no stale locks. Not here: locks between machines.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if os.name == "nt":
    import msvcrt

    def _lock(descriptor: int, *, wait: bool) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int, *, wait: bool) -> None:
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
