"""Watch what reading a file does besides reading it.

Stage: a call -> *the call, watched* -> findings. Python's audit hooks report which paths are opened
and which code runs, tracemalloc reports the memory requested, and an alarm limits the time. What C
code does on its own is not seen. Not here: what is called.
Source: PEP 578 (audit hooks), Python's table of audit events.
"""

import os
import signal
import sys
import sysconfig
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import NoReturn

MAX_SECONDS = 10.0
_SPARE_BYTES = 32 << 20
"""Memory that is independent of any file: modules, buffers, a compiled split pattern."""

_PATHS = frozenset({"open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename"})
_PATHS |= {"os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod", "os.utime"}
_NEVER = frozenset({"pickle.find_class", "os.system", "os.exec", "os.fork", "os.posix_spawn"})
_NEVER |= {"subprocess.Popen", "socket.connect", "socket.bind", "ctypes.dlopen"}
_LIBRARY = tuple(
    {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib")}
    | {sys.base_prefix, sys.prefix, str(Path(__file__).resolve().parents[5])}
)


class MisdeedError(Exception):
    """Reading a file had a forbidden side effect."""


class Watch:
    """Watch calls; one per process, because audit hooks cannot be removed."""

    def __init__(self) -> None:
        self._allowed: str | None = None
        self._misdeeds: list[str] = []
        sys.addaudithook(self._audit)

    def call(self, function: Callable[[], object], *, folder: Path, max_bytes: int) -> object:
        """Call a function that may use nothing outside `folder`.

        Raises:
            MisdeedError: it used another path, ran code, took too much memory or too long.
            Exception: what the function raises.
        """
        tracemalloc.start()
        self._misdeeds, self._allowed = [], os.path.realpath(folder)
        try:
            with _alarm():
                return function()
        finally:
            self._allowed = None
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            if peak > max_bytes + _SPARE_BYTES:
                self._misdeeds.append(f"{peak:,} bytes of memory, but {max_bytes:,} are allowed")
            if self._misdeeds:
                raise MisdeedError("; ".join(self._misdeeds))

    def _audit(self, event: str, arguments: tuple) -> None:
        if self._allowed is None:
            return
        if event in _NEVER:
            self._misdeeds.append(f"{event} {arguments!r:.200}")
        elif event == "exec":
            code = arguments[0]
            if not (isinstance(code, CodeType) and code.co_filename.startswith(_LIBRARY)):
                self._misdeeds.append(f"code from {getattr(code, 'co_filename', code)!r} ran")
        elif event in _PATHS and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            is_inside = path == self._allowed or path.startswith(self._allowed + os.sep)
            if not is_inside and not _is_import(path, event, arguments):
                self._misdeeds.append(f"{event} of {path}")


def _is_import(path: str, event: str, arguments: tuple) -> bool:
    """Whether an event reads a module that is imported on demand."""
    reads = event in ("open", "os.listdir", "os.scandir") and (
        event != "open" or not isinstance(arguments[1], str) or arguments[1] in ("r", "rb")
    )
    return reads and path.startswith(_LIBRARY)


@contextmanager
def _alarm() -> Iterator[None]:
    started = time.monotonic()

    def ring(number: int, frame: FrameType | None) -> NoReturn:
        raise MisdeedError(f"not done after {time.monotonic() - started:.0f} seconds")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
