import io

import pytest

from trainer.monitoring.progress import Reporter, format_amount


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def run_stage(reporter: Reporter, clock: Clock, *, num_updates: int, seconds_each: float) -> None:
    with reporter.stage("encoding", total=num_updates, unit="documents") as stage:
        for done in range(1, num_updates + 1):
            clock.seconds += seconds_each
            stage.update(done)


def test_fast_stage_writes_only_its_first_and_last_line():
    stream, clock = io.StringIO(), Clock()
    run_stage(Reporter(stream=stream, clock=clock), clock, num_updates=5000, seconds_each=0.001)
    assert stream.getvalue().splitlines() == [
        "encoding: 0 of 5,000 documents",
        "encoding: 5,000 of 5,000 documents, 100%, done in 5.0 s",
    ]


def test_slow_stage_writes_at_most_one_line_in_ten_seconds():
    stream, clock = io.StringIO(), Clock()
    run_stage(Reporter(stream=stream, clock=clock), clock, num_updates=100, seconds_each=1.0)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 12  # the first, one each ten seconds, the last
    assert lines[1] == "encoding: 10 of 100 documents, 10%"


def test_note_and_late_total_are_shown():
    stream, clock = io.StringIO(), Clock()
    with Reporter(stream=stream, clock=clock).stage("training", unit="steps") as stage:
        clock.seconds = 10.0
        stage.update(120, total=1000, note="loss 3.21  12,345 tok/s")
    assert stream.getvalue().splitlines()[:2] == [
        "training ...",
        "training: 120 of 1,000 steps, 12%  loss 3.21  12,345 tok/s",
    ]


def test_stage_left_by_an_exception_claims_no_end():
    stream = io.StringIO()
    with pytest.raises(ValueError), Reporter(stream=stream).stage("encoding", total=2):
        raise ValueError
    assert "done" not in stream.getvalue()


def test_silent_mode_writes_nothing():
    stream, clock = io.StringIO(), Clock()
    reporter = Reporter(mode="silent", stream=stream, clock=clock)
    reporter.say("hello")
    run_stage(reporter, clock, num_updates=3, seconds_each=60.0)
    assert stream.getvalue() == ""


def test_terminal_gets_a_bar_that_ends_complete(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream, clock = Terminal(), Clock()
    run_stage(Reporter(stream=stream, clock=clock), clock, num_updates=10, seconds_each=1.0)
    assert "\x1b[" in stream.getvalue()
    assert "10 of 10 documents, 100%" in stream.getvalue()


def test_line_said_under_a_live_bar_keeps_its_text_whole(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    reporter = Reporter(stream=stream)
    with reporter.stage("outer", total=2) as stage, reporter.stage("inner", total=1):
        stage.update(1)
        reporter.say("a [bold]line[/bold] " + "x" * 200)
    lines = stream.getvalue().split("\n")
    assert any("a [bold]line[/bold] " + "x" * 200 in line for line in lines)


def test_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    Reporter(stream=stream).say("hello")
    with Reporter(stream=stream).stage("encoding"):
        pass
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2_227_753_162, "2.2 GB")],
)
def test_bytes_are_written_in_decimal_units(amount: int, text: str):
    assert format_amount(amount, unit="bytes") == text


def test_a_stage_that_counts_nothing_shows_no_count() -> None:
    stream = io.StringIO()
    with Reporter(mode="bar", stream=stream).stage("divide documents"):
        pass
    assert "0 steps" not in stream.getvalue()
