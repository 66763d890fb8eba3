"""End a command quietly if Ctrl-C or a missing module interrupts the import of torch.

Stage: before every command. The import takes seconds, and runs before a command could catch
anything. Not here: programs that import the package, which keep their own handling.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

COMMANDS = frozenset(
    {"train", "prepare", "generate", "evaluate", "doctor", "costs"}
    | {"report", "compare", "watch", "sweep", "ablate", "lr-range"}
)


@contextmanager
def quiet_start() -> Iterator[None]:
    """Exit with 130 on Ctrl-C inside the block, if this process is one of our commands.

    If an import fails, the command reports it in one line and exits with 2.
    """
    if Path(sys.argv[0] if sys.argv else "").stem not in COMMANDS:
        yield
        return
    try:
        with _interrupts_exit():
            _require_folder()
            yield
    except ImportError as error:  # torch needs modules of Python's own that a build may lack
        _refuse(f"{error}; install what is missing, or a Python that includes it")


def _require_folder() -> None:
    from bpe.formats.files import require_working_directory  # also slow to import

    try:
        require_working_directory()
    except ValueError as error:
        _refuse(str(error))


def _refuse(reason: str) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr)
    sys.exit(2)


@contextmanager
def _interrupts_exit() -> Iterator[None]:
    # A command started in the background or with `nohup` keeps ignoring the signal.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _exit_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_at_once(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)  # a module being imported could catch or print an exception
