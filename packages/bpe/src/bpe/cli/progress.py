"""Show the progress of a command.

Stage: none; a command passes one of these to the stages it runs. Not here: results, which go to
stdout.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_BAR_WIDTH = 30
_SECONDS_BETWEEN = {"bar": 0.1, "line": 5.0}


class StageProgress:
    """Shows the progress of stages: a bar on a terminal, otherwise a line every few seconds."""

    def __init__(
        self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._kind = "bar" if self._stream.isatty() else "line"
        self._stage: str | None = None
        self._started = self._shown = 0.0
        self._is_line_open = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done; the last report of a stage is always shown."""
        now = self._clock()
        if stage != self._stage:
            self.close()
            self._stage, self._started, self._shown = stage, now, now
        is_last = done >= total
        if is_last or now - self._shown >= _SECONDS_BETWEEN[self._kind]:
            self._shown = now
            self._show(done, total, seconds=now - self._started)
        if is_last:
            self.close()

    def close(self) -> None:
        """End the line of an unfinished bar."""
        if self._is_line_open:
            self._stream.write("\n")
        self._stage, self._is_line_open = None, False

    def _show(self, done: int, total: int, *, seconds: float) -> None:
        share = done / total if total else 1.0
        text = f"{self._stage:<6} {share:4.0%} {done:,} of {total:,} in {seconds:.1f} s"
        if self._kind == "bar":
            filled = round(share * _BAR_WIDTH)
            self._stream.write(f"\r[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {text}")
            self._is_line_open = True
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()
