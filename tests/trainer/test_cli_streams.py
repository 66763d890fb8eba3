"""A finished command, and what its standard streams can take of it."""

import io
import sys
from pathlib import Path

import pytest

from bpe.cli.unread_stream import UnreadStream
from trainer.cli import commands as cli


def console(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Put the streams of a Windows console in place; return what stdout receives."""
    received = io.BytesIO()
    for name, target in (("stdout", received), ("stderr", io.BytesIO())):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(target, encoding="cp1252"))
    return received


def test_a_sample_that_the_console_cannot_spell_ends_no_finished_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received = console(monkeypatch)
    program = cli._command(lambda argv: print("na\u00efve \u65e5") or 0)
    with pytest.raises(SystemExit) as end:
        program()
    assert end.value.code == 0
    assert received.getvalue().decode("cp1252").splitlines() == ["na\u00efve \\u65e5"]


def test_whoever_writes_to_stderr_waits_for_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    console(monkeypatch)
    seen: list[object] = []
    program = cli._command(lambda argv: seen.append(sys.stderr) or 0)
    with pytest.raises(SystemExit):
        program()
    assert isinstance(seen[0], UnreadStream)


def test_the_files_of_a_study_are_there_when_stdout_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    console(monkeypatch)
    done: list[str] = []

    def fail(*arguments: object) -> None:
        done.append("table")
        raise OSError(28, "No space left on device", "standard output")

    monkeypatch.setattr("trainer.experiments.print_study", fail)
    monkeypatch.setattr(
        "trainer.report.files.write_report", lambda path: done.append("report") or [path]
    )
    monkeypatch.setattr("trainer.cli.sweep_arguments.parse_sweep", lambda argv: _Study(tmp_path))
    with pytest.raises(SystemExit) as end:
        cli.sweep()
    assert (end.value.code, done) == (2, ["report", "table"])


class _Study:
    """A study request whose trials are done."""

    kind, exit_signal, is_out_of_time, num_trials, num_done = "sweep", None, False, 1, 1

    def __init__(self, path: Path) -> None:
        self.path, self.study = path, self

    def run(self, reporter: object) -> "_Study":
        return self
