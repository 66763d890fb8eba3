"""Show the progress of each stage: a bar on a terminal, a few plain lines elsewhere.

Stage: beside all of them. This module decides what is shown and how often; stages only call
`update`. Everything goes to stderr. Not here: metrics on disk, results on stdout.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from bpe.cli.unread_stream import UnreadStream

Unit = Literal["bytes", "tokens", "steps", "documents", "files", "merges"]


class Stage(Protocol):
    """Reports the progress of a running stage."""

    def update(self, done: float, *, total: float | None = None, note: str = "") -> None:
        """Show that `done` units are done; `total` and a non-empty `note` replace earlier ones."""


class Reporter:
    """Report to the user on stderr, in the form that the terminal or file can show.

    Args:
        mode: "auto" draws a bar on a terminal and writes lines elsewhere; "silent" shows nothing.
        stream: where to write; None: `sys.stderr` at the time of construction.
        clock: monotonic seconds; tests pass their own.

    >>> import io
    >>> stream = io.StringIO()
    >>> with Reporter(stream=stream).stage("counting", total=3, unit="files") as stage:
    ...     stage.update(3)
    >>> print(stream.getvalue().splitlines()[0])
    counting: 0 of 3 files
    """

    def __init__(
        self,
        *,
        mode: Literal["auto", "bar", "lines", "silent"] = "auto",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        unread = UnreadStream(sys.stderr if stream is None else stream)
        self._stream = cast(TextIO, unread)  # has all methods of the stream
        self._mode = _choose_mode(self._stream) if mode == "auto" else mode
        self._clock = clock
        self._console = Console(file=self._stream, force_terminal=True, highlight=False)
        self._bars: Progress | None = None

    def say(self, line: str) -> None:
        """Write one line, above the bar if there is one."""
        if self._mode == "bar":
            self._console.print(Text(line), soft_wrap=True)
        elif self._mode == "lines":
            self._stream.write(f"{line}\n")
            self._stream.flush()

    @contextmanager
    def stage(
        self, description: str, *, total: float | None = None, unit: Unit = "steps"
    ) -> Iterator[Stage]:
        """Open a stage; its last state is shown when the block ends.

        Stages may nest. A block left by an exception shows no final line.

        Args:
            description: what is being done, in the user's words.
            total: units to do; None: not known yet.
            unit: what is counted.
        """
        state = _State(description, total, unit)
        if self._mode == "bar":
            with self._open_bars() as bars:
                stage = _BarStage(state, self._clock, bars)
                yield stage
                stage.finish()
        elif self._mode == "lines":
            stage = _LineStage(state, self._clock, self.say)
            yield stage
            stage.finish()
        else:
            yield _SilentStage()

    @contextmanager
    def _open_bars(self) -> Iterator[Progress]:
        """Share one display among nested stages: a terminal has room for one at its bottom."""
        if self._bars is not None:
            yield self._bars
            return
        # No refresh thread: stages fork worker processes, which must not inherit one.
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=self._console,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
        )
        try:
            with self._bars:
                yield self._bars
        finally:
            self._bars = None


def format_amount(amount: float, *, unit: Unit) -> str:
    """Format an amount for people.

    >>> format_amount(12_345_678, unit="bytes"), format_amount(12_345, unit="tokens")
    ('12.3 MB', '12,345 tokens')
    """
    if unit != "bytes":
        return f"{amount:,.0f} {unit}"
    for factor, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if amount >= factor:
            return f"{amount / factor:.1f} {name}"
    return f"{amount:.0f} bytes"


@dataclass(slots=True)
class _State:
    """The progress of one stage."""

    description: str
    total: float | None
    unit: Unit
    done: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        text = format_amount(self.done, unit=self.unit)
        if self.total is not None:
            whole = format_amount(self.total, unit=self.unit)
            done = text.removesuffix(f" {self.unit}") if self.unit != "bytes" else text
            percent = f", {self.done / self.total:.0%}" if self.total and self.done else ""
            text = f"{done} of {whole}{percent}"
        elif not self.done:
            text = "..."
        return f"{text}  {self.note}" if self.note else text


class _SilentStage:
    """Shows nothing."""

    def update(self, done: float, *, total: float | None = None, note: str = "") -> None:
        pass


class _ShownStage(ABC):
    """Shows a stage's state at most once per interval."""

    interval_seconds: ClassVar[float]

    def __init__(self, state: _State, clock: Callable[[], float]) -> None:
        self._state, self._clock = state, clock
        self._started = self._last_shown = clock()

    def update(self, done: float, *, total: float | None = None, note: str = "") -> None:
        state = self._state
        state.done, state.note = done, note or state.note
        state.total = state.total if total is None else total
        if self._clock() - self._last_shown >= self.interval_seconds:
            self._last_shown = self._clock()
            self._show()

    @abstractmethod
    def _show(self) -> None: ...


class _LineStage(_ShownStage):
    """Writes a line at the start, a few in between, and one at the end."""

    interval_seconds = 10.0

    def __init__(
        self, state: _State, clock: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        super().__init__(state, clock)
        self._say = say
        say(f"{state.description} ..." if state.total is None else f"{state.description}: {state}")

    def _show(self) -> None:
        self._say(f"{self._state.description}: {self._state}")

    def finish(self) -> None:
        seconds = self._clock() - self._started
        amount = f"{self._state}, " if self._state.done else ""
        self._say(f"{self._state.description}: {amount}done in {seconds:.1f} s")


class _BarStage(_ShownStage):
    """Moves one bar of the shared display."""

    interval_seconds = 0.1

    def __init__(self, state: _State, clock: Callable[[], float], bars: Progress) -> None:
        super().__init__(state, clock)
        self._bars = bars
        self._task = bars.add_task(state.description, total=state.total, state=str(state))
        bars.refresh()

    def _show(self) -> None:
        done, total = self._state.done, self._state.total
        state = str(self._state)
        self._bars.update(self._task, completed=done, total=total, state=state, refresh=True)

    def finish(self) -> None:
        self._show()
        self._bars.stop_task(self._task)
        self._bars.refresh()


def _choose_mode(stream: TextIO) -> Literal["bar", "lines"]:
    if not stream.isatty():
        return "lines"
    return "lines" if Console(file=stream).is_dumb_terminal else "bar"
