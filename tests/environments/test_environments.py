"""Every command in every environment: all of its result or one clear line, and no lost run.

By default one cheap command stands for each kind of environment; `-m matrix` runs all.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments.commands import HELP, PREPARED, WORKING, Command
from environments.surroundings import (
    ALL,
    ENCODINGS,
    FULL,
    HOMES,
    LINE,
    MISSING,
    OPTIONAL,
    QUIET,
    REFUSED,
    STREAMS,
    Outcome,
    Surroundings,
    run,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full, setpriv and /proc")

SIGPIPE_STATUS = 141
# A command that only prints its help meets fewer environments.
OF_HELP = (MISSING[0], *HOMES, *ENCODINGS, *STREAMS)


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    """A corpus, two runs on it, counts and a token file; where strangers can read them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        text = "<|endoftext|>".join(
            f"line {i}: the cat sat on the m\u00e4t number {i * 7 % 13} \u2014 na\u00efve \u65e5.\n"
            for i in range(200)
        )
        (folder / "corpus.txt").write_text(text, encoding="utf-8")
        for line in (
            "count {world}/corpus.txt --output {world}/1.counts",
            f"train {PREPARED} --run-dir {{world}}/run",
            f"train {PREPARED} --run-dir {{world}}/other",
            "encode {world}/run/tokenizer {world}/corpus.txt --output {world}/t.npy",
        ):
            done = _run_outside(line, folder)
            assert done.returncode == 0, done.stderr
        yield folder


@pytest.fixture(scope="module")
def small_world() -> Iterator[Path]:
    """A corpus and a tokenizer: what the packages' commands need."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "corpus.txt").write_text("the c\u00e4t, na\u00efve, sat\n" * 50, "utf-8")
        for line in (
            "train-bpe {world}/corpus.txt --vocab-size 270 --output {world}/run/tokenizer",
            "encode {world}/run/tokenizer {world}/corpus.txt --output {world}/t.npy",
        ):
            done = _run_outside(line, folder)
            assert done.returncode == 0, done.stderr
        yield folder


def _run_outside(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    name, *arguments = (word.format(world=folder) for word in shlex.split(line))
    command = [sys.executable, str(Path(sys.executable).with_name(name)), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=folder)


@pytest.fixture
def out() -> Iterator[Path]:
    """An empty folder that strangers can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _cases() -> Iterator[object]:
    for around in ALL:
        # Each of these modules alone is within "no-optional-module": once more where it is cheap.
        is_part = set(around.blocked) < set(OPTIONAL) and around not in HOMES and around.blocked
        commands = [one for one in WORKING if not one.needs] if is_part else WORKING
        for command in (*commands, *(HELP if around in OF_HELP else ())):
            yield pytest.param(command, around, id=f"{around.name}-{command.name}")


@pytest.mark.matrix
@pytest.mark.parametrize(("command", "around"), list(_cases()))
def test_every_command_gives_all_or_one_line(
    command: Command, around: Surroundings, world: Path, out: Path
) -> None:
    judge(command, around, world, out)


# Cheap ones: none of them imports torch.
REPRESENTATIVES = (
    ("no-optional-module", "count"),
    ("no-zlib", "encode"),
    ("no-home", "bench tokenization --help"),
    ("stranger", "train-bpe"),
    ("c-locale", "decode"),
    ("all-closed", "memory"),
    ("stdout-full", "flops"),
    ("stdout-gone", "inspect"),
    ("stderr-unread", "train-bpe"),
    ("no-jit", "encode"),
    ("folder-deleted", "count"),
)


@pytest.mark.parametrize(("place", "name"), REPRESENTATIVES)
def test_one_command_stands_for_each_kind(
    place: str, name: str, small_world: Path, out: Path
) -> None:
    around = next(one for one in ALL if one.name == place)
    command = next(one for one in (*WORKING, *HELP) if one.name == name)
    judge(command, around, small_world, out)


def judge(command: Command, around: Surroundings, world: Path, out: Path) -> None:
    """Run a command; hold what came of it to what must come of it."""
    if around.is_stranger and (os.geteuid() != 0 or shutil.which("setpriv") is None):
        pytest.skip("only root can become a user who is in no password file, by setpriv")
    found = run(command, around, world=world, out=out)
    told = (found.out or "") + (found.err or "")
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    end = around.ends(command)
    if end in (FULL, REFUSED, QUIET):
        missing = [name for name in command.leaves if not (out / name).exists()]
        assert not missing, told
    JUDGES[end](command, found)


def _require_full(command: Command, found: Outcome) -> None:
    assert found.status == (130 if command.is_served else 0), found
    assert found.out is None or command.says in found.out, found


def _require_line(command: Command, found: Outcome) -> None:
    assert found.status == 2, found
    if found.err is not None:
        assert "error: " in found.err.splitlines()[-1], found


def _require_refusal(command: Command, found: Outcome) -> None:
    _require_line(command, found)
    assert found.err is None or "standard output" in found.err, found


def _require_quiet(command: Command, found: Outcome) -> None:
    assert found.status == SIGPIPE_STATUS, found
    assert not re.search(r"^([\w-]+: )?error: ", found.err, re.MULTILINE), found


JUDGES = {
    FULL: _require_full,
    REFUSED: _require_refusal,
    QUIET: _require_quiet,
    LINE: _require_line,
}
