"""Keep commands working when standard streams are closed, full, unread or limited in encoding.

Stage: none; every command begins with `repair_streams` and prints within `written_output`. Not
here: what is written to them.
"""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from bpe.cli.unread_stream import UnreadStream

OUTPUT = "standard output"
"""The name in errors when a result cannot be written."""
UNREAD = 128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else 1
"""Exit status when the reader has gone, as in `inspect ... | head`; other programs have it too."""


def repair_streams() -> None:
    """Make the standard streams safe to use.

    A closed stream becomes the null device. Characters that stdout's encoding lacks are escaped,
    and stdout's errors name it. Writing to stderr neither blocks nor fails: see `UnreadStream`.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _null_device(descriptor))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout = _with_named_errors(sys.stdout)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")  # file names may not be UTF-8
    if not isinstance(sys.stderr, UnreadStream):
        sys.stderr = UnreadStream(sys.stderr)


@contextmanager
def written_output() -> Iterator[None]:
    """Flush what the block prints, however the block ends.

    Raises:
        OSError: stdout cannot be written; the error names `OUTPUT`.
        SystemExit: nobody reads stdout any more; its status is `UNREAD`.
    """
    end: BaseException | None = None
    try:
        yield
    except BaseException as error:
        end = error
    failure = _output_failure()
    if failure is not None and (end is None or isinstance(end, SystemExit)):
        end = failure  # SystemExit: argparse and Rich swallow such errors
    if isinstance(end, BrokenPipeError) and end.filename == OUTPUT:
        raise SystemExit(UNREAD) from None
    if end is not None:
        raise end


def describe_error(error: OSError | ValueError) -> str:
    """Return an error as one line for the user."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _output_failure() -> OSError | None:
    """Return the first error of stdout, and make Python's own flush at exit succeed."""
    failure: OSError | None = None
    try:
        sys.stdout.flush()
    except OSError as error:
        failure = error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, _Output) else failure


class _Output(io.FileIO):
    """A descriptor whose errors name `OUTPUT`, so they are not mistaken for another file's.

    Attributes:
        failure: the first error.
    """

    failure: OSError | None = None

    def write(self, data: Any, /) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = OUTPUT
            self.failure = self.failure or error
            raise


def _with_named_errors(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO or raw.fileno() != 1:  # a Windows console, or a test's stream
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(1, "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


def _null_device(descriptor: int) -> TextIO:
    """Open the null device in place of a closed standard stream.

    It takes the stream's descriptor as well. Otherwise the next file opened would get that number,
    and with it the output of libraries and child processes.
    """
    opened = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(descriptor)
    except OSError:
        os.dup2(opened, descriptor)
    if opened == descriptor:
        os.set_inheritable(opened, True)
    else:
        os.close(opened)
    mode = "w" if descriptor else "r"
    return open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123 - open to the end
