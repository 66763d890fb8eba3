"""Describe the machine: what it is, how busy it is, and how fast it can be.

Stage: *machine* -> report. Not here: anything about a contestant.
"""

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bpe.counting.cpus import usable_cpus

_STAT = Path("/proc/stat")
_IDLE_ENOUGH = 0.88
_LOOK_SECONDS = 0.25
_COPIED_BYTES, _COPIES = 1 << 27, 8  # more than any cache holds; the first copy touches the pages


def describe_machine(distributions: Iterable[str]) -> dict[str, Any]:
    """Return what a reader of the figures has to know about the machine."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_allowed": num_cpus(),
        "memory_bytes": _memory_bytes(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: installed_version(name) for name in distributions},
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def num_cpus() -> int:
    """Return how many CPUs this process may use."""
    return usable_cpus()


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def copy_bandwidth(num_threads: int) -> float:
    """Measure memcpy in threads: bytes read and written per second, the best of several tries."""
    numbers = _COPIED_BYTES // 8
    pairs = [(np.ones(numbers), np.empty(numbers)) for _ in range(num_threads)]
    best = 0.0
    with ThreadPoolExecutor(num_threads) as pool:
        for _ in range(_COPIES):
            started = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))
            best = max(best, 2 * _COPIED_BYTES * num_threads / (time.perf_counter() - started))
    return best


def busy_seconds() -> float | None:
    """Return the CPU time that all processes have used since the machine started."""
    fields = _cpu_times()
    if fields is None:
        return None
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def wait_until_idle(patience_seconds: float) -> None:
    """Wait until the CPUs are nearly idle, up to a limit."""
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        before, started = busy_seconds(), time.perf_counter()
        if before is None:
            return
        time.sleep(_LOOK_SECONDS)
        busy = (busy_seconds() or 0.0) - before
        if 1 - busy / (time.perf_counter() - started) / (os.cpu_count() or 1) >= _IDLE_ENOUGH:
            return


def _cpu_times() -> list[int] | None:
    try:
        line = _STAT.read_text("utf-8").partition("\n")[0]
    except OSError:
        return None
    return [int(word) for word in line.split()[1:]]


def _cpu_model() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text("utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _commit() -> str | None:
    """Return the commit of this source, marked if the tree differs from it."""
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() or None
