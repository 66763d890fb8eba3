"""Measure how long each stage of a command takes, and the peak memory.

Stage: none; a command records its stages here and reports them when it ends. Not here: what is
shown meanwhile (`progress`).
"""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")


class StageTimes:
    """Records the seconds of each stage while passing reports on to `progress`.

    A stage lasts from its first report to the first report of the next one.

    >>> clock = iter([0.0, 1.0, 4.0])
    >>> times = StageTimes(lambda *report: None, first="load", clock=lambda: next(clock))
    >>> times("count", 0, 9), times("count", 9, 9), times.end()
    (None, None, None)
    >>> times.describe()
    '4.0 s: load 25%, count 75%'
    """

    def __init__(
        self,
        progress: Callable[[str, int, int], None],
        *,
        first: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress, self._clock = progress, clock
        self._stage, self._booked_until = first, clock()
        self.seconds: dict[str, float] = {}
        """By stage, in order of appearance."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Pass a report on; the first report of a new stage ends the one before."""
        if stage != self._stage:
            self.end(following=stage)
        self._progress(stage, done, total)

    def end(self, *, following: str = "") -> None:
        """Record the time since the stage began."""
        now = self._clock()
        spent = now - self._booked_until
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + spent
        self._stage, self._booked_until = following, now

    def describe(self) -> str:
        """Return the total seconds, and each stage's share."""
        whole = sum(self.seconds.values())
        shares = [
            f"{stage} {seconds / whole if whole else 0:.0%}"
            for stage, seconds in self.seconds.items()
        ]
        return f"{whole:.1f} s: {', '.join(shares)}"


def describe_peak_memory() -> str:
    """Return the peak resident set of this process, and of its largest child if it had any."""
    try:
        import resource
    except ImportError:  # Windows
        return "unknown: this system does not report it"
    unit = 1 if sys.platform == "darwin" else 1024
    own = _high_water_bytes() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    # The system includes memory that a child first shares with its parent, so this is a bound.
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    text = f"{own / 1e6:,.0f} MB"
    return f"{text}, and at most {child / 1e6:,.0f} MB in each child process" if child else text


def _high_water_bytes() -> int | None:
    """Return Linux's own mark; `getrusage` of a new process starts at its parent's."""
    if not _STATUS.exists():
        return None
    found = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text(encoding="utf-8"))
    return int(found[1]) * 1024 if found else None
