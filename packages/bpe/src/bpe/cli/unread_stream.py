"""How is progress shown so that work waits for no reader, and dies with none?

Stage: none; what a command says on stderr goes through here. A pipe that nobody empties, a full
disk, a paused or closed terminal: what cannot be written is dropped. Not here: results, which are
on disk before stdout has them.
"""

import os
import select
import stat
from collections.abc import Callable
from typing import Any, TextIO

from bpe.messages.plural import agree, plural

PATIENCE_SECONDS = 1.0
"""How long a reader may take before lines are dropped; from then on nobody waits for it."""
_PIECE_BYTES = 4096  # PIPE_BUF on Linux: what a pipe that says it has room takes at once


class UnreadStream:
    """Wraps a stream like stderr: the end of a line, and `flush`, write what can be written.

    Whatever else is asked of it, the wrapped stream answers.

    Args:
        stream: a text stream; one without a file descriptor, or on a regular file, never blocks.
        note: makes a line from a number of dropped lines, for when writing works again.
    """

    def __init__(self, stream: TextIO, *, note: Callable[[int], str] | None = None) -> None:
        self._stream = stream
        self._note = note or _tell_unread
        self._waiting: list[str] = []
        self._dropped = 0
        self._is_dead = False
        self._descriptor = _blocking_descriptor(stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Take a text; `flush` where it ends a line."""
        self._waiting.append(text)
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what was taken, or drop it."""
        text, self._waiting = "".join(self._waiting), []
        if self._is_dead or not text:
            return
        try:
            if self._dropped and self._has_room(0.0):
                text, self._dropped = self._note(self._dropped) + text, 0
            self._write(text)
        except OSError:  # nobody is there any more, and never will be
            self._is_dead = True

    def _write(self, text: str) -> None:
        for start in range(0, len(text), _PIECE_BYTES // 4):  # at most 4 bytes a character
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


def _tell_unread(number: int) -> str:
    was = agree(number, "was", "were")
    return f"... {plural(str(number), 'line')} of progress {was} not read\n"
