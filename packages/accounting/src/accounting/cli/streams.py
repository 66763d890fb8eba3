"""Let a command end well if its standard streams are closed, full, unread or short of characters.

Stage: none; every command does. Not here: what is written to them. `bpe.cli.streams` does the same
for commands that also show progress; this package depends on nothing.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import NoReturn, TextIO

_OUTPUT = "standard output"
_UNREAD = 128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else 1
_MISTAKE = 2


def repair_streams() -> None:
    """Replace closed standard streams by the null device; escape what stdout cannot encode."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115 - to the end
            setattr(sys, name, null)
    if isinstance(sys.stdout, TextIOWrapper):  # a program that embeds us may have its own
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def written_output() -> Iterator[None]:
    """Flush what the block prints, even if `--help` ends it.

    Raises:
        OSError: stdout cannot be written; the error names it.
        SystemExit: the reader of stdout is gone; 128 + SIGPIPE, as for other programs.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is None:
            _discard(sys.stdout)
            error.filename = _OUTPUT
        if isinstance(error, BrokenPipeError):
            sys.exit(_UNREAD)
        raise


def fail(line: str) -> NoReturn:
    """Report an error, if stderr can be written, and exit as after a mistake."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)
    sys.exit(_MISTAKE)


def _discard(stream: TextIO) -> None:
    """Let Python's own flush at exit succeed, which would otherwise fail the same way."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
