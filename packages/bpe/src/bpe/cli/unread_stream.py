"""Write progress to a stream without ever waiting for its reader or failing without one.

Stage: none; whatever a command writes to stderr passes through here. If a pipe is not read, a disk
is full or a terminal is paused or closed, what cannot be written is dropped. Not here: results,
which are on disk before stdout gets them.
"""

import os
import select
import stat
from typing import Any, TextIO

from bpe.messages.plural import agree, plural

PATIENCE_SECONDS = 1.0
"""How long a reader may take before lines are dropped; after that, writing never waits for it."""
_PIECE_BYTES = 4096  # PIPE_BUF on Linux: what a pipe that reports room accepts at once


class UnreadStream:
    """Wraps a stream like stderr: line ends and `flush` write what can be written.

    A stream without a file descriptor, or on a regular file, never blocks.

    All other attributes are those of the wrapped stream. Once writing works again, a line reports
    how many lines were dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: list[str] = []
        self._dropped = 0
        self._is_dead = False
        self._descriptor = _blocking_descriptor(stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Accept text; `flush` if it ends a line."""
        self._waiting.append(text)
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what was accepted, or drop it."""
        text, self._waiting = "".join(self._waiting), []
        if self._is_dead or not text:
            return
        try:
            if self._dropped and self._has_room(0.0):
                was = agree(self._dropped, "was", "were")
                lines = plural(str(self._dropped), "line")
                text, self._dropped = f"... {lines} of progress {was} not read\n{text}", 0
            self._write(text)
        except OSError:  # the reader has gone for good
            self._is_dead = True

    def _write(self, text: str) -> None:
        for start in range(0, len(text), _PIECE_BYTES // 4):  # at most 4 bytes per character
            if not self._has_room(0.0 if self._dropped else PATIENCE_SECONDS):
                self._dropped += max(1, text[start:].count("\n"))
                return
            self._stream.write(text[start : start + _PIECE_BYTES // 4])
            self._stream.flush()

    def _has_room(self, seconds: float) -> bool:
        if self._descriptor is None:
            return True
        return bool(select.select([], [self._descriptor], [], seconds)[1])


def _blocking_descriptor(stream: TextIO) -> int | None:
    """Return the descriptor of a stream whose other end may stop reading."""
    try:
        descriptor = stream.fileno()
        mode = os.fstat(descriptor).st_mode
    except (OSError, ValueError, AttributeError):
        return None
    waits = stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)
    return descriptor if waits and os.name == "posix" else None
