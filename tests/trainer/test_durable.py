"""Files that are complete or absent: modes, faults, kills, power cuts."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from faults.disk import Disk, every_fault, killed_at, record
from faults.power import crash_states

from bpe.formats.files import make_directory
from trainer.storage.durable import (
    append,
    remove,
    write_atomically,
    write_durably,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="the fault layer reads /proc")
OLD, NEW = b"old", b"new content"


@pytest.mark.skipif(os.name != "posix", reason="no umask")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_modes_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_directory(tmp_path / "a" / "b")
        write_atomically(tmp_path / "a" / "f", [NEW])
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o777 & ~umask
    assert (tmp_path / "a" / "f").stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_existing_file_is_never_written_into(tmp_path: Path) -> None:
    write_durably(tmp_path / "f", [OLD])
    with pytest.raises(FileExistsError):
        write_durably(tmp_path / "f", [NEW])
    assert (tmp_path / "f").read_bytes() == OLD


@linux
def test_a_short_write_is_gone_on_with(tmp_path: Path) -> None:
    with Disk(tmp_path, at=0, fault="short", for_good=True):
        write_atomically(tmp_path / "f", [NEW])
        append(tmp_path / "f", NEW)
    assert (tmp_path / "f").read_bytes() == NEW * 2


def _replace_old(folder: Path) -> None:
    write_atomically(folder / "f", [NEW])


def _with_old(folder: Path) -> Path:
    folder.mkdir()
    (folder / "f").write_bytes(OLD)
    return folder


@linux
@pytest.mark.parametrize("for_good", [False, True])
def test_every_error_leaves_the_old_file_or_the_new_one(tmp_path: Path, for_good: bool) -> None:
    operations = record(_with_old(tmp_path / "record"), lambda: _replace_old(tmp_path / "record"))
    assert len(operations) == 5
    for i, (number, fault) in enumerate(every_fault(operations)):
        folder = _with_old(tmp_path / str(i))
        try:
            with Disk(folder, at=number, fault=fault, for_good=for_good):
                _replace_old(folder)
        except OSError as error:
            assert str(folder) in str(error.filename)
            assert (folder / "f").read_bytes() in (OLD, NEW)
        else:
            assert (folder / "f").read_bytes() == NEW
        if not for_good or fault != "EIO":  # then removal fails as well
            assert [path.name for path in folder.iterdir()] == ["f"]


@linux
def test_every_kill_leaves_the_old_file_or_the_new_one_and_no_litter(tmp_path: Path) -> None:
    for fault in ("kill", "kill torn"):
        for number in range(5):
            folder = _with_old(tmp_path / f"{fault}{number}")
            killed_at(number, folder, lambda folder=folder: _replace_old(folder), fault=fault)
            assert (folder / "f").read_bytes() in (OLD, NEW)
            _replace_old(folder)
            assert [path.name for path in folder.iterdir()] == ["f"]


@linux
def test_every_power_cut_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    before, after = _with_old(tmp_path / "before"), tmp_path / "after"
    shutil.copytree(before, after)
    operations = record(after, lambda: _replace_old(after))
    for state in crash_states(before, operations):
        done = state.done == len(operations)
        assert state.tree["f"] in ((NEW,) if done else (OLD, NEW))


def test_removing_takes_files_and_whole_directories(tmp_path: Path) -> None:
    for name in ("folder", "folder.tmp"):
        (tmp_path / name / "inner").mkdir(parents=True)
        remove(tmp_path / name)
    (tmp_path / "file").touch()
    remove(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
