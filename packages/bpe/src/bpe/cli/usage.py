"""How long did each stage of a command take, and what was the most memory?

Stage: none; a command books its stages here and reports them at its end. Not here: what is shown
meanwhile.
"""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")


class StageTimes:
    """Books the seconds of each stage on their way to `progress`.

    A stage lasts from its first report to the first of the next one.

    Args:
        progress: told what is told to this.
        first: the stage that begins now.
        clock: seconds, monotonic.

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
        """By stage, in the order in which they came."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Pass a report on; where it is of another stage, the one before has ended."""
        if stage != self._stage:
            self.end(following=stage)
        self._progress(stage, done, total)

    def end(self, *, following: str = "") -> None:
        """Book the time since the stage began to it."""
        now = self._clock()
        spent = now - self._booked_until
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + spent
        self._stage, self._booked_until = following, now

    def describe(self) -> str:
        """Return the seconds of all stages together, and the share of each."""
        whole = sum(self.seconds.values())
        shares = [
            f"{stage} {seconds / whole if whole else 0:.0%}"
            for stage, seconds in self.seconds.items()
        ]
        return f"{whole:.1f} s: {', '.join(shares)}"


def describe_peak_memory() -> str:
    """Return the largest resident set of this process, and of its largest child if it had one."""
    try:
        import resource
    except ImportError:  # Windows
        return "unknown: this system does not say"
    unit = 1 if sys.platform == "darwin" else 1024
    own = _high_water_bytes() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    # The system counts what a child shares with its parent at first, so this is a bound.
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    text = f"{own / 1e6:,.0f} MB"
    return f"{text}, and at most {child / 1e6:,.0f} MB in each child process" if child else text


def _high_water_bytes() -> int | None:
    """Return the mark that Linux keeps; `getrusage` of a new process begins at its parent's."""
    if not _STATUS.exists():
        return None
    found = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text(encoding="utf-8"))
    return int(found[1]) * 1024 if found else None
