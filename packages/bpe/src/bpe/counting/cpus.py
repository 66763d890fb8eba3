"""Count the CPUs that this process may use.

Stage: none; the default number of threads or processes. Not here: how many of them are worth
starting (`corpus`).
"""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from bpe.messages.arguments import require_whole_number

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cpus(
    *,
    environ: Mapping[str, str] | None = None,
    own_cgroups: Path = _OWN_CGROUPS,
    cgroups: Path = _CGROUPS,
) -> int:
    """Return how many CPUs this process may use, at least 1.

    The arguments are for tests.

    That is the least of the CPUs that its affinity (or, from Python 3.13 on, PYTHON_CPU_COUNT), the
    quotas of its cgroups, rounded up, and Slurm's allotment per task admit; on platforms without
    any of these, all CPUs of the machine.
    """
    limits = [affinity_cpus(), *_quotas(own_cgroups, cgroups)]
    allotted = (os.environ if environ is None else environ).get("SLURM_CPUS_PER_TASK", "")
    if allotted.isdecimal():
        limits.append(int(allotted))
    return max(1, min(limits))


def check_num_threads(num_threads: int | None, *, name: str) -> int:
    """Return how many threads or processes to use; None: one per usable CPU."""
    if num_threads is None:
        return usable_cpus()
    require_whole_number(num_threads, name=name)
    if num_threads < 1:
        raise ValueError(f"{name} is {num_threads}; use 1 or more, or None for one per CPU")
    return num_threads


def affinity_cpus() -> int:
    """Return how many CPUs the scheduler lets this process use."""
    if (process_cpus := getattr(os, "process_cpu_count", None)) is not None:
        return process_cpus() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(own_cgroups: Path, cgroups: Path) -> Iterator[int]:
    """Yield the quota of each cgroup that this process is in, in CPUs, rounded up."""
    for line in _read(own_cgroups).splitlines():
        _, controllers, inside = line.split(":", 2)
        if not controllers:  # version 2
            mounts = (cgroups, cgroups / "unified")
        elif "cpu" in controllers.split(","):
            mounts = (cgroups / controllers, cgroups / "cpu")
        else:
            continue
        for mount in mounts:
            group = mount / inside.lstrip("/")
            for place in (group, *group.parents):
                if place.is_relative_to(mount):
                    yield from _quota(place)


def _quota(group: Path) -> Iterator[int]:
    words = _read(group / "cpu.max").split()
    if not words:
        words = [_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):  # not "max", -1
        yield math.ceil(int(words[0]) / int(words[1]))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # no such controller, or not Linux
        return ""
