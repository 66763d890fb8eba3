"""The environments that a command may meet, each in one word, and how a command fares in one."""

import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from environments.commands import Command

BLOCK = """
import os, sys

class Blocker:
    names = frozenset(os.environ["BLOCKED_MODULES"].split())

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
for name in Blocker.names:
    sys.modules.pop(name, None)
"""
"""A sitecustomize that hides modules, as if Python had been built without them."""

# What CPython's own build leaves out where a library is missing, or where there is no such thing.
OPTIONAL = (
    *("_lzma", "_bz2", "_sqlite3", "_ssl", "_hashlib", "_uuid", "_dbm", "_gdbm", "_zstd"),
    *("readline", "_curses", "_tkinter", "fcntl", "resource", "pwd", "grp", "termios", "syslog"),
)
"""Those without which torch and Numba can be imported."""
NEEDED = {
    "zlib": frozenset({"torch", "numba"}),
    "_ctypes": frozenset({"torch", "numba"}),
    "_multiprocessing": frozenset({"torch"}),
    "_posixshmem": frozenset({"torch"}),
}
"""By module: who cannot be imported without it, so that nothing of ours can help."""

FULL, REFUSED, QUIET, LINE = "full", "refused", "quiet", "line"
"""What must come of a command: all of it; all but stdout, which one line names, or which nobody
reads; or one line."""

_START_SECONDS = 120  # a server is up by then, or ends while it starts, quietly too
_TIMEOUT_SECONDS = 600

STRANGER = 54321
_SETPRIV = ("setpriv", f"--reuid={STRANGER}", "--clear-groups")
# The interpreter may lie in the home of root: reading stays allowed, writing does not.
_READING = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--")
_NOBODY = dict.fromkeys(("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME"))
_ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """One environment."""

    name: str
    variables: Mapping[str, str | None] = field(default_factory=dict)
    blocked: tuple[str, ...] = ()
    streams: Mapping[str, str] = field(default_factory=dict)
    """stdin, stdout, stderr: closed, full, gone, unread."""
    folder: str = "own"
    """Where the command starts: own, deleted, or one that cannot be written."""
    is_stranger: bool = False
    """Whether the user has no entry in the password file."""
    ends: Callable[[Command], str] = lambda command: FULL


def _without(*modules: str) -> Callable[[Command], str]:
    needed = frozenset().union(*(NEEDED.get(name, frozenset()) for name in modules))
    return lambda command: LINE if command.needs & needed else FULL


MISSING = (
    Surroundings(name="no-optional-module", blocked=OPTIONAL),
    *(
        Surroundings(name=f"no-{name}", blocked=(name,), ends=_without(name))
        for name in (*OPTIONAL, *NEEDED)
    ),
)
HOMES = (
    Surroundings(name="no-home", variables=_NOBODY, blocked=("pwd",)),
    Surroundings(name="stranger", variables=_NOBODY, is_stranger=True),
)
ENCODINGS = (
    *(
        Surroundings(name=f"{name}-streams", variables={"PYTHONIOENCODING": name})
        for name in ("ascii", "latin-1", "cp1252")
    ),
    Surroundings(name="c-locale", variables=_ASCII),
)
STREAMS = (
    Surroundings(name="stdin-closed", streams={"stdin": "closed"}),
    Surroundings(name="stdout-closed", streams={"stdout": "closed"}),
    Surroundings(name="stderr-closed", streams={"stderr": "closed"}),
    Surroundings(
        name="all-closed", streams={"stdin": "closed", "stdout": "closed", "stderr": "closed"}
    ),
    Surroundings(name="stdout-full", streams={"stdout": "full"}, ends=lambda _: REFUSED),
    Surroundings(name="stderr-full", streams={"stderr": "full"}),
    Surroundings(
        name="both-full", streams={"stdout": "full", "stderr": "full"}, ends=lambda _: REFUSED
    ),
    Surroundings(name="stdout-gone", streams={"stdout": "gone"}, ends=lambda _: QUIET),
    Surroundings(name="stderr-gone", streams={"stderr": "gone"}),
    Surroundings(name="stderr-unread", streams={"stderr": "unread"}),
    Surroundings(name="stdout-unread", streams={"stdout": "unread"}),
)
OTHERS = (
    Surroundings(name="no-jit", variables={"NUMBA_DISABLE_JIT": "1"}),
    # torch cannot be loaded without a folder to be in.
    Surroundings(
        name="folder-deleted",
        folder="deleted",
        ends=lambda command: LINE if command.needs or command.name.startswith("bench") else FULL,
    ),
    Surroundings(name="folder-not-writable", folder="/", is_stranger=True),
)
ALL = (*MISSING, *HOMES, *ENCODINGS, *STREAMS, *OTHERS)


@dataclass(frozen=True)
class Outcome:
    """How a command ended; None: a stream that the test could not read."""

    status: int
    out: str | None
    err: str | None


def run(command: Command, around: Surroundings, *, world: Path, out: Path) -> Outcome:
    """Run a command in its surroundings, to its end."""
    start = out / "start"
    start.mkdir()
    if around.is_stranger:
        os.chown(out, STRANGER, STRANGER)
    with ExitStack() as stack:
        files = {
            name: _open(around.streams.get(name), stack) for name in ("stdin", "stdout", "stderr")
        }
        process = stack.enter_context(
            subprocess.Popen(
                [*_as_user(around), *_line(command, world, out)],
                cwd=start if around.folder in ("own", "deleted") else around.folder,
                env=_environment(around, out),
                preexec_fn=lambda: _enter(around, start),
                **files,
            )
        )
        stack.callback(process.kill)
        if command.is_served:
            _wait_until_it_serves(process)
            process.send_signal(signal.SIGINT)
        if around.streams.get("stdout") == "unread":
            _read_late(files["stdout"], process, [out / name for name in command.leaves])
        told = process.communicate(timeout=_TIMEOUT_SECONDS)
    texts = [None if one is None else one.decode("utf-8", "backslashreplace") for one in told]
    return Outcome(process.returncode, *texts)


def _line(command: Command, world: Path, out: Path) -> Iterator[str]:
    name, *arguments = shlex.split(command.words)
    yield sys.executable
    yield str(Path(sys.executable).with_name(name))
    yield from (word.format(world=world, out=out) for word in arguments)


def _wait_until_it_serves(process: subprocess.Popen) -> None:
    """Wait until a process holds a socket, and for the line that it then prints."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):  # a file was closed meanwhile, or the process has ended
            files = Path("/proc", str(process.pid), "fd").iterdir()
            if any(str(file.readlink()).startswith("socket:") for file in files):
                break
        time.sleep(0.2)
    time.sleep(2)


def _as_user(around: Surroundings) -> list[str]:
    return [*_SETPRIV, *_READING] if around.is_stranger else []


def _environment(around: Surroundings, out: Path) -> dict[str, str]:
    changes = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": None, **around.variables}
    if around.blocked:
        hider = out / "hider"
        hider.mkdir()
        (hider / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
        changes |= {"PYTHONPATH": str(hider), "BLOCKED_MODULES": " ".join(around.blocked)}
    merged = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def _enter(around: Surroundings, start: Path) -> None:
    """Do in the child what only it can: close its streams, and lose its folder."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if around.streams.get(name) == "closed":
            os.close(descriptor)
    if around.folder == "deleted":
        start.rmdir()


def _open(state: str | None, stack: ExitStack) -> int:
    """Return what a stream of the child is to be."""
    if state is None:
        return subprocess.PIPE
    if state == "closed":
        return subprocess.DEVNULL
    if state == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, descriptor = os.pipe()
        if state == "gone":
            os.close(reading)
        else:
            _fill(descriptor)
            _READERS[descriptor] = reading
            stack.callback(os.close, reading)
    stack.callback(os.close, descriptor)
    return descriptor


_READERS: dict[int, int] = {}


def _fill(descriptor: int) -> None:
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        while True:
            os.write(descriptor, bytes(4096))
    os.set_blocking(descriptor, True)


def _read_late(descriptor: int, process: subprocess.Popen[bytes], files: list[Path]) -> None:
    """Begin to read only when all is written, which must not have waited for it."""
    end = time.monotonic() + _TIMEOUT_SECONDS
    while process.poll() is None and not all(map(Path.exists, files)):
        assert time.monotonic() < end, f"waits for a reader before it writes {files}"
        time.sleep(0.1)
    reading = os.dup(_READERS.pop(descriptor))

    def read() -> None:
        with os.fdopen(reading, "rb", buffering=0) as source:
            while process.poll() is None:
                if select.select([source], [], [], 0.1)[0]:
                    source.read(1 << 16)

    threading.Thread(target=read).start()
