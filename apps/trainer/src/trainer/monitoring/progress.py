"""Show how far a stage has come: a bar on a terminal, a few plain lines anywhere else.

Stage: beside all of them. This module owns the rule of what is shown and how often; stages only
call `update`. Everything goes to stderr. Not here: metrics on disk, results on stdout.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from bpe.cli.unread_stream import UnreadStream

Unit = Literal["bytes", "tokens", "steps", "documents", "files", "merges"]

_LINE_SECONDS = 10.0  # plain lines: at most one in this time between the first and the last
_FRAME_SECONDS = 0.1  # bar: at most one redraw in this time


class Stage(Protocol):
    """What a running stage calls to say how far it is."""

    def update(self, done: float, *, total: float | None = None, note: str = "") -> None:
        """Show that `done` units are done; `total` and a non-empty `note` replace earlier ones."""


class Reporter:
    """Speak to the user on stderr, in whatever way the other end can show.

    Args:
        mode: "auto" draws a bar on a terminal and writes lines elsewhere; "silent" shows nothing.
        stream: where to write; None: `sys.stderr` at the time of construction.
        clock: seconds, monotonic; tests pass their own.

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
        self._stream = cast(TextIO, unread)  # answers all that its stream does
        self._mode = _choose_mode(self._stream) if mode == "auto" else mode
        self._clock = clock
        self._console = Console(file=self._stream, force_terminal=True, highlight=False)
        self._bars: Progress | None = None

    def say(self, line: str) -> None:
        """Write one line; above the bar where one is drawn."""
        if self._mode == "bar":
            self._console.print(Text(line), soft_wrap=True)
        elif self._mode == "lines":
            self._stream.write(f"{line}\n")
            self._stream.flush()

    @contextmanager
    def stage(
        self, description: str, *, total: float | None = None, unit: Unit = "steps"
    ) -> Iterator[Stage]:
        """Open a stage; it is closed, with its last state shown, when the block ends.

        Stages may nest. A block left by an exception shows no final line.

        Args:
            description: what is being done, as the user would say it.
            total: units the stage will have done at its end; None: not known (yet).
            unit: what is counted.
        """
        if self._mode == "bar":
            with self._open_bars() as bars:
                stage = _BarStage(bars, description, total=total, unit=unit, clock=self._clock)
                yield stage
                stage.finish()
        elif self._mode == "lines":
            lines = _LineStage(self.say, description, total=total, unit=unit, clock=self._clock)
            yield lines
            lines.finish()
        else:
            yield _SilentStage()

    @contextmanager
    def _open_bars(self) -> Iterator[Progress]:
        """Share one display among nested stages: only one can own the bottom of a terminal."""
        if self._bars is not None:
            yield self._bars
            return
        # No refresh thread: the stages fork worker processes, which must not inherit one.
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
    """Write an amount the way people read it.

    >>> format_amount(12_345_678, unit="bytes"), format_amount(12_345, unit="tokens")
    ('12.3 MB', '12,345 tokens')
    """
    if unit != "bytes":
        return f"{amount:,.0f} {unit}"
    for factor, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if amount >= factor:
            return f"{amount / factor:.1f} {name}"
    return f"{amount:.0f} bytes"


class _Count:
    """How far one stage is, and how that reads."""

    def __init__(self, *, total: float | None, unit: Unit) -> None:
        self.done = 0.0
        self.total = total
        self.unit: Unit = unit
        self.note = ""

    def set(self, done: float, total: float | None, note: str) -> None:
        self.done = done
        self.total = self.total if total is None else total
        self.note = note or self.note

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
    """Show nothing."""

    def update(self, done: float, *, total: float | None = None, note: str = "") -> None:
        pass


class _LineStage:
    """Write a line at the start, rarely in between, and one at the end."""

    def __init__(
        self,
        say: Callable[[str], None],
        description: str,
        *,
        total: float | None,
        unit: Unit,
        clock: Callable[[], float],
    ) -> None:
        self._say = say
        self._description = description
        self._count = _Count(total=total, unit=unit)
        self._clock = clock
        self._started = self._last_shown = clock()
        say(f"{description}: {self._count}" if total is not None else f"{description} ...")

    def update(self, done: float, *, total: float | None = None, note: str = "") -> None:
        self._count.set(done, total, note)
        if self._clock() - self._last_shown >= _LINE_SECONDS:
            self._last_shown = self._clock()
            self._say(f"{self._description}: {self._count}")

    def finish(self) -> None:
        seconds = self._clock() - self._started
        state = f"{self._count}, " if self._count.done else ""
        self._say(f"{self._description}: {state}done in {seconds:.1f} s")


class _BarStage:
    """Move one bar of the shared display."""

    def __init__(
        self,
        bars: Progress,
        description: str,
        *,
        total: float | None,
        unit: Unit,
        clock: Callable[[], float],
    ) -> None:
        self._bars = bars
        self._count = _Count(total=total, unit=unit)
        self._clock = clock
        self._last_shown = clock()
        self._task: TaskID = bars.add_task(description, total=total, state=str(self._count))
        bars.refresh()

    def update(self, done: float, *, total: float | None = None, note: str = "") -> None:
        self._count.set(done, total, note)
        if self._clock() - self._last_shown >= _FRAME_SECONDS:
            self._draw()

    def finish(self) -> None:
        self._draw()
        self._bars.stop_task(self._task)
        self._bars.refresh()

    def _draw(self) -> None:
        self._last_shown = self._clock()
        count = self._count
        self._bars.update(
            self._task, completed=count.done, total=count.total, state=str(count), refresh=True
        )


def _choose_mode(stream: TextIO) -> Literal["bar", "lines"]:
    if not stream.isatty():
        return "lines"
    return "lines" if Console(file=stream).is_dumb_terminal else "bar"
