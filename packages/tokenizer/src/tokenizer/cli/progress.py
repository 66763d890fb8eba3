"""Show the progress of a command.

Stage: beside encoding. A bar on a terminal, an occasional line anywhere else; always on stderr.
Not here: the work itself, and results, which go to stdout.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_FRAME_SECONDS = 0.1
_LINE_SECONDS = 10.0
_WIDTH = 24  # of the bar, in characters


class Progress:
    r"""Show bytes done and in total; call it as often as you like.

    >>> import io
    >>> stream = io.StringIO()
    >>> Progress("encoding", stream=stream, clock=lambda: 0.0)(3_000_000, 3_000_000)
    >>> stream.getvalue()
    'encoding: 3.0 of 3.0 MB (100%), 0 s\n'
    """

    def __init__(
        self,
        description: str,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._description = description
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._interval = _FRAME_SECONDS if self._is_terminal else _LINE_SECONDS
        self._started = self._last_shown = clock()
        self._is_finished = self._is_line_open = False

    def __call__(self, done: int, total: int) -> None:
        """Show the state, unless it was shown a moment ago; the last state is always shown."""
        now = self._clock()
        is_last = done >= total
        if self._is_finished or (not is_last and now - self._last_shown < self._interval):
            return
        self._last_shown = now
        self._is_finished = is_last
        share = done / total
        state = (
            f"{done / 1e6:.1f} of {total / 1e6:.1f} MB ({share:.0%}), {now - self._started:.0f} s"
        )
        if self._is_terminal:
            bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH, ".")
            self._stream.write(f"\r{self._description} [{bar}] {state}")
            self._is_line_open = True
        else:
            self._stream.write(f"{self._description}: {state}\n")
        if is_last:
            self.close()
        self._stream.flush()

    def close(self) -> None:
        """End the line of a bar, so later output starts on its own line."""
        if self._is_line_open:
            self._stream.write("\n")
        self._is_line_open = False
