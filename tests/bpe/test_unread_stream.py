"""Progress that nobody reads: dropped, said later, never waited for, never fatal."""

import os
import sys

import pytest

from bpe.cli.unread_stream import UnreadStream
from trainer.monitoring.progress import Reporter

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")


def test_a_full_pipe_loses_lines_and_says_so_once_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bpe.cli.unread_stream.PATIENCE_SECONDS", 0.0)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as source, os.fdopen(writing, "w") as target:
        reporter = Reporter(mode="lines", stream=target)
        for number in range(3000):
            reporter.say(f"{number:0100}")
        seen = source.read(1 << 20)
        reporter.say("last")
        seen += source.read(1 << 20)
    lines = seen.decode().splitlines()
    assert lines[0] == f"{0:0100}"
    assert lines[-1] == "last"
    dropped = 3000 - (len(lines) - 2)
    assert lines[-2] == f"... {dropped} lines of progress were not read"


def test_a_reader_that_left_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    target = os.fdopen(writing, "w")
    reporter = Reporter(mode="lines", stream=target)
    reporter.say("one")
    reporter.say("two")
    with pytest.raises(BrokenPipeError):
        target.close()


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals differ")
def test_a_terminal_that_was_closed_is_no_error() -> None:
    master, slave = os.openpty()
    target = os.fdopen(slave, "w")
    reporter = Reporter(mode="bar", stream=target)
    with reporter.stage("train", total=3) as stage:
        os.close(master)
        stage.update(1)
        reporter.say("nobody hears this")
        stage.update(3)
    with pytest.raises(OSError, match="Input/output"):
        target.close()


def test_texts_longer_than_a_pipe_takes_at_once_arrive_whole() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as source, os.fdopen(writing, "w") as target:
        stream = UnreadStream(target)
        stream.write("ä" * 10_000 + "\n")
        stream.flush()
        assert source.read(1 << 20).decode() == "ä" * 10_000 + "\n"
