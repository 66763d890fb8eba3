"""Standard streams that are closed, full, without a reader, or short of letters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpe.cli.streams import UNREAD

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full, /proc and closed files")

COMMAND = """
import sys
from bpe.cli.streams import repair_streams, written_output
repair_streams()
try:
    with written_output():
        {body}
except OSError as error:
    print(f"{{error.filename}}: {{error.strerror}}", file=sys.stderr)
    sys.exit(2)
"""


def run(
    body: str, *, redirection: str = "", unbuffered: str = "", **variables: str
) -> tuple[int, bytes, str]:
    shell = ("sh", "-c", f'exec "$@" {redirection}', "sh")
    done = subprocess.run(
        [*shell, sys.executable, "-c", COMMAND.format(body=body)],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered, **variables},
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize(
    ("body", "unbuffered"),
    [
        ("print('a')", ""),
        ("print('a' * 100_000)", ""),
        ("import argparse; argparse.ArgumentParser().print_help()", "1"),  # hides the error
    ],
    ids=["little", "much", "help"],
)
def test_a_full_stdout_is_named_in_one_line(body: str, unbuffered: str) -> None:
    found = run(body, redirection=">/dev/full", unbuffered=unbuffered)
    assert found == (2, b"", "standard output: No space left on device\n")


def test_a_reader_that_left_ends_a_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND.format(body="print('a')")],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (UNREAD, b"")


def test_an_error_of_another_file_is_not_taken_for_stdouts() -> None:
    code, _, err = run("print('a'); open('/nowhere')", redirection=">/dev/full")
    assert (code, err) == (2, "/nowhere: No such file or directory\n")


def test_a_pipe_that_breaks_elsewhere_is_no_reader_that_left() -> None:
    code, out, err = run("print('a'); raise BrokenPipeError(32, 'Broken pipe', 'other')")
    assert (code, out, err) == (2, b"a\n", "other: Broken pipe\n")


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    body = (
        f"file = open({str(tmp_path / 'a')!r}, 'w'); print('not there'); print(file.fileno(), "
        "file=file); import os; os.system('echo nor this; echo nor that >&2')"
    )
    assert run(body, redirection="<&- >&- 2>&-")[0] == 0
    assert int((tmp_path / "a").read_text("utf-8")) > 2


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_an_encoding_lacks_is_escaped(encoding: str) -> None:
    code, out, err = run("print('na\\u00efve \\u65e5')", PYTHONIOENCODING=encoding)
    i = "\\xef" if encoding == "ascii" else "\u00ef"
    assert (code, out.decode(encoding), err) == (0, f"na{i}ve \\u65e5\n", "")


def test_an_error_that_nobody_hears_still_ends_with_its_status() -> None:
    assert run("open('/nowhere')", redirection="2>/dev/full") == (2, b"", "")
