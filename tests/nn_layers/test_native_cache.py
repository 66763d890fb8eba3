"""Compiled libraries on disk: what is damaged, not ours or from another compiler is rebuilt."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from nn_layers import NativeError
from nn_layers.backends.cpu import build, library_cache

ANSWER = 'extern "C" int answer() { return 42; }\n'
NEEDS_OWNERS = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owner here")
NEEDS_ROOT = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give a file away"
)
SOMEBODY = 4242


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own for each test; the folder that libraries are kept in."""
    if build.find_compiler() is None:
        pytest.skip("there is no C++ compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    library_cache.report_once.cache_clear()
    return tmp_path / "cache" / "nn-layers"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "answer_step.cpp"
    source.write_text(ANSWER)
    return source


def _built(source: Path, folder: Path) -> Path:
    """Build, and return the one library that is kept."""
    assert build.build(source).answer() == 42
    (path,) = folder.glob("answer-step-*.so")
    assert build.is_built(source)
    return path


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 4, len(content) // 4 + 64):
        content[place] ^= 0xFF
    path.write_bytes(content)


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _rename_another(path: Path) -> None:
    """Have a whole library of another source under the name of this one."""
    other = path.with_name("other_step.cpp")
    other.write_text(ANSWER.replace("42", "43"))
    build.build(other)
    (built,) = path.parent.glob("other-step-*.so")
    built.replace(path)
    other.unlink()


def _open_to_all(path: Path) -> None:
    path.chmod(0o777)


def _give_away(path: Path) -> None:
    os.chown(path, SOMEBODY, -1)


DAMAGE = [_flip, _halve, _lengthen, _empty, _rename_another]
FOREIGN = [
    pytest.param(_open_to_all, marks=NEEDS_OWNERS),
    pytest.param(_give_away, marks=NEEDS_ROOT),
]


@pytest.mark.parametrize("harm", [*DAMAGE, *FOREIGN])
def test_a_library_that_is_not_whole_or_not_ours_is_built_anew(
    harm, source: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _built(source, folder)
    # The one that this process has loaded stays as it is.
    shutil.move(path, tmp_path / "loaded.so")
    shutil.copy(tmp_path / "loaded.so", path)
    harm(path)
    assert not build.is_built(source)
    assert _built(source, folder) == path
    assert len(_warnings(caplog)) == 1
    assert str(path) in _warnings(caplog)[0]
    assert path.stat().st_mode & 0o777 == 0o755


LOAD = """
import sys
from pathlib import Path
from nn_layers.backends.cpu import build
print(build.build(Path(sys.argv[1])).answer())
"""


@pytest.mark.matrix
def test_another_process_loads_no_damaged_library(source: Path, folder: Path) -> None:
    path = _built(source, folder)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(source)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "42\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"not loading {path}: it is damaged")


@NEEDS_OWNERS
def test_a_folder_that_others_could_write_to_is_closed_and_emptied(
    source: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _built(source, folder)
    before = path.stat().st_mtime_ns
    folder.chmod(0o777)
    assert not build.is_built(source)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert _built(source, folder).stat().st_mtime_ns > before
    (said,) = _warnings(caplog)
    assert said.startswith(f"others could write to {folder}")


@NEEDS_ROOT
@pytest.mark.parametrize("is_link", [False, True])
def test_a_folder_of_somebody_else_is_not_used(
    is_link: bool, source: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.mkdir()
    place = folder
    if is_link:
        place = tmp_path / "elsewhere"
        folder.symlink_to(place)
    place.mkdir()
    os.chown(place, SOMEBODY, -1)
    assert build.build(source).answer() == 42
    assert build.is_built(source)  # for this process
    assert not any(place.iterdir())
    (said,) = _warnings(caplog)
    assert said.startswith(f"not using {folder}: it belongs to user {SOMEBODY}")


def test_a_folder_of_ours_may_be_a_link(source: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    assert _built(source, folder).resolve().parent == tmp_path / "elsewhere"


@NEEDS_OWNERS
def test_others_can_write_to_nothing_whatever_the_umask(source: Path, folder: Path) -> None:
    before = os.umask(0)
    try:
        path = _built(source, folder)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o755


def test_without_a_home_it_is_built_for_this_process(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    assert build.build(source).answer() == 42
    assert build.is_built(source)
    (said,) = _warnings(caplog)
    assert said.startswith("no home directory is known to keep compiled code in")


def _compiler(path: Path, version: str) -> Path:
    """A compiler that is the machine's own, but for what it says of its version."""
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && {{ echo "{version}"; exit; }}\n'
        f'exec {shutil.which("g++") or shutil.which("clang++")} "$@"\n'
    )
    path.chmod(0o755)
    return path


def test_another_compiler_or_version_builds_its_own(
    source: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = _compiler(tmp_path / "c++", "c++ 12.2.0")
    monkeypatch.setenv("CXX", str(compiler))
    _built(source, folder)
    _compiler(compiler, "c++ 12.2.1")
    build._describe_compiler.cache_clear()
    assert not build.is_built(source)
    build.build(source)
    assert len(list(folder.glob("answer-step-*.so"))) == 2


def test_another_cpu_builds_its_own(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _built(source, folder)
    monkeypatch.setattr(build, "_describe_cpu", lambda: "another")
    assert not build.is_built(source)


def test_a_compiler_may_have_arguments(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, compiler = shutil.which("env"), build.find_compiler()
    monkeypatch.setenv("CXX", f"{env} A='a b' {compiler}")
    assert build.find_compiler() == f"{env} A='a b' {compiler}"
    _built(source, folder)


@pytest.mark.parametrize("command", ["no-such-compiler -O0", "g++ 'open quote", " "])
def test_a_cxx_that_is_no_program_is_passed_over_and_said(
    command: str, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setenv("CXX", command)
    _built(source, folder)
    (said,) = _warnings(caplog)
    assert said.startswith(f"CXX is {command!r}, which is not a program here: building with ")


def test_a_compiler_that_makes_nothing_is_named(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "true")
    with pytest.raises(NativeError, match=r"true cannot build .*: no message; set CXX to another"):
        build.build(source)


def test_those_who_build_at_once_get_the_same(source: Path, folder: Path) -> None:
    found: list[int] = []
    threads = [Thread(target=lambda: found.append(build.build(source).answer())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [42] * 4
    assert len(list(folder.iterdir())) == 1  # nor is anything left beside


def test_a_library_in_use_outlives_its_replacement(source: Path, folder: Path) -> None:
    library = build.build(source)
    (path,) = folder.iterdir()
    name = path.stem.rpartition("-")[0]
    library_cache.make_library(name, lambda draft: draft.write_bytes(b"a library of another build"))
    path.unlink()
    assert library.answer() == 42


def test_a_full_disk_is_told_and_leaves_nothing(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(draft: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NativeError, match=r"cannot be built below .*No space left on device"):
        build.build(source)
    assert not any(folder.iterdir())
