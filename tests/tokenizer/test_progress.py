"""Progress is a bar on a terminal and a few lines elsewhere."""

import io

from tokenizer.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(stream: io.StringIO, *, seconds_a_call: float) -> str:
    times = iter(range(1_000_000))
    progress = Progress("encoding", stream=stream, clock=lambda: next(times) * seconds_a_call)
    for done in range(0, 1_000_001, 10_000):
        progress(done, 1_000_000)
    progress(1_000_000, 1_000_000)
    return stream.getvalue()


def test_lines_are_rare_and_the_last_state_is_shown_once() -> None:
    lines = show(io.StringIO(), seconds_a_call=1.0).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "encoding: 1.0 of 1.0 MB (100%), 101 s"


def test_a_quick_stage_is_one_line() -> None:
    assert show(io.StringIO(), seconds_a_call=0.0).count("\n") == 1


def test_an_unfinished_bar_ends_its_line_when_closed() -> None:
    progress = Progress("encoding", stream=(terminal := Terminal()), clock=iter([0, 1]).__next__)
    progress.close()
    assert terminal.getvalue() == ""
    progress(1, 2)
    progress.close()
    progress.close()
    assert terminal.getvalue().endswith("(50%), 1 s\n")


def test_a_terminal_shows_one_bar_in_place() -> None:
    shown = show(Terminal(), seconds_a_call=0.05)
    assert shown.count("\n") == 1
    assert 20 < shown.count("\r") < 60
    assert shown.endswith("[########################] 1.0 of 1.0 MB (100%), 5 s\n")
