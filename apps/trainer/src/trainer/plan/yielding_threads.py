"""Let waiting threads yield their CPU while other processes want it.

Stage: beside all that computes on the CPU. Between two operations, OpenMP's threads spin for up to
15 ms: on an idle machine that is fastest, on a busy one it takes the CPU from the very thread that
they wait for. The spinning time is read once from the environment, but GNU's library spins a
thousandth as long while it manages more threads than there are CPUs. So while our threads have to
wait for a CPU, one more team of idle threads is kept. Not here: how many threads compute
(`cpu_settings`).
"""

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, Thread

_LOOK_SECONDS = 1.0
_CROWDED, _CALM = 0.2, 0.05
"""Seconds per second that our threads together wait for a CPU; on an idle machine about 0.01."""
_CALM_LOOKS = 3
_TASKS = Path("/proc/self/task")

_watching = Lock()


@contextmanager
def yielding_threads() -> Iterator[None]:
    """Watch in the block whether CPUs are contended, and set how OpenMP's threads wait.

    This does nothing if the environment decides how threads wait, if OpenMP is not GNU's, or if
    the system does not report how long threads wait for a CPU.
    """
    openmp = _gnu_openmp()
    is_decided = not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}.isdisjoint(os.environ)
    if openmp is None or is_decided or not _delays() or not _watching.acquire(blocking=False):
        yield
        return
    stop = Event()
    watcher = Thread(target=_watch, args=(openmp, stop), daemon=True, name="yielding-threads")
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        _watching.release()


class SpareTeam:
    """Idle threads of OpenMP, one more than there are CPUs; while they exist, all spin briefly."""

    def __init__(self, openmp: ctypes.CDLL) -> None:
        self._openmp = openmp
        self._is_there, self._end = Event(), Event()
        # A team belongs to the thread that started it, and ends with it.
        self._owner = Thread(target=self._own, daemon=True, name="spare-team")
        self._owner.start()
        self._is_there.wait()

    def close(self) -> None:
        """End the team."""
        self._end.set()
        self._owner.join()

    def _own(self) -> None:
        num_threads = ctypes.c_uint(self._openmp.omp_get_num_procs() + 1)
        nothing = ctypes.CDLL(None).getpid  # a harmless function of C for each of them
        self._openmp.GOMP_parallel(nothing, None, num_threads, ctypes.c_uint(0))
        self._is_there.set()
        self._end.wait()


def _watch(openmp: ctypes.CDLL, stop: Event) -> None:
    team: SpareTeam | None = None
    num_calm = 0
    before, since = _delays(), time.monotonic()
    while not stop.wait(_LOOK_SECONDS):
        now, at = _delays(), time.monotonic()
        waited = sum(seconds - before.get(task, 0.0) for task, seconds in now.items())
        share = waited / (at - since)
        before, since = now, at
        num_calm = num_calm + 1 if share < _CALM else 0
        if team is None and share > _CROWDED:
            team = SpareTeam(openmp)
        elif team is not None and num_calm >= _CALM_LOOKS:
            team.close()
            team = None
    if team is not None:
        team.close()


def _delays() -> dict[str, float]:
    """Return how long each thread of this process has waited for a CPU, in seconds."""
    delays = {}
    try:
        for task in _TASKS.iterdir():
            try:
                fields = (task / "schedstat").read_text(encoding="ascii").split()
                delays[task.name] = int(fields[1]) * 1e-9
            except OSError:  # the thread has ended
                continue
    except OSError:  # not Linux
        return {}
    return delays


def _gnu_openmp() -> ctypes.CDLL | None:
    """Return the OpenMP library that torch has loaded, if it is GNU's."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return None
    try:
        return ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD)
    except OSError:
        return None
