"""The fault layer itself: it sees what is done, and it finds what a careless writer loses."""

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.disk import Disk, every_fault, killed_at, record
from faults.power import crash_states

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layer reads /proc")

OLD, NEW = b"old" * 9, b"new" * 9


def _in_place(path: Path) -> None:
    path.write_bytes(NEW)


def _renamed(path: Path) -> None:
    beside = path.with_name("x.tmp")
    beside.write_bytes(NEW)
    beside.replace(path)


def _synced(path: Path) -> None:
    beside = path.with_name("x.tmp")
    with beside.open("wb") as file:
        file.write(NEW)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def test_operations_are_seen_in_order_whatever_call_they_come_from(tmp_path: Path) -> None:
    def act() -> None:
        (tmp_path / "d").mkdir()
        _synced(tmp_path / "d" / "f")
        with (tmp_path / "d" / "f").open("a") as file:
            file.write("text")
        shutil.rmtree(tmp_path / "d")

    seen = [(o.name, o.path, o.target) for o in record(tmp_path, act)]
    assert seen == [
        ("mkdir", "d", ""),
        ("open", "d/x.tmp", ""),
        ("write", "d/x.tmp", ""),
        ("fsync", "d/x.tmp", ""),
        ("rename", "d/x.tmp", "d/f"),
        ("fsync", "d", ""),
        ("open", "d/f", ""),
        ("write", "d/f", ""),
        ("unlink", "d/f", ""),
        ("rmdir", "d", ""),
    ]


def test_nothing_outside_of_the_root_fails_or_is_seen(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Disk(tmp_path / "in", at=0, for_good=True) as disk:
        _synced(tmp_path / "out")
    assert disk.operations == []


@pytest.mark.parametrize("number", range(3))
def test_an_error_meets_one_operation_or_all_from_there(tmp_path: Path, number: int) -> None:
    for for_good in (False, True):
        failed = []
        with Disk(tmp_path, at=number, fault="ENOSPC", for_good=for_good):
            for i in range(3):
                try:
                    (tmp_path / f"{i}{for_good}").mkdir()
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    failed.append(i)
        assert failed == ([*range(number, 3)] if for_good else [number])


def test_a_short_write_says_so_and_a_torn_one_raises(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for fault, raises in (("short", False), ("torn", True)):
        with Disk(tmp_path, at=1, fault=fault), path.open("wb", buffering=0) as file:
            if raises:
                with pytest.raises(OSError, match="No space"):
                    file.write(b"1234")
            else:
                assert file.write(b"1234") == 2
        assert path.read_bytes() == b"12"


def test_a_kill_happens_before_the_operation(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert killed_at(1, tmp_path, lambda: path.write_bytes(b"1234"))
    assert path.read_bytes() == b""
    assert killed_at(1, tmp_path, lambda: path.write_bytes(b"1234"), fault="kill torn")
    assert path.read_bytes() == b"12"
    assert not killed_at(9, tmp_path, lambda: path.write_bytes(b"1234"))
    assert path.read_bytes() == b"1234"


def test_space_is_only_wanted_by_what_needs_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    operations = record(tmp_path, lambda: (path.write_bytes(b"1"), path.unlink()))
    assert list(every_fault(operations, "ENOSPC", "EFBIG", "EIO")) == [
        (0, "ENOSPC"),
        (0, "EIO"),
        (1, "ENOSPC"),
        (1, "EFBIG"),
        (1, "EIO"),
        (2, "EIO"),
    ]


@pytest.mark.parametrize(
    ("writer", "loses"), [(_in_place, True), (_renamed, True), (_synced, False)]
)
def test_a_power_cut_spares_only_what_was_synced(
    tmp_path: Path, writer: Callable[[Path], None], loses: bool
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    (before / "f").write_bytes(OLD)
    shutil.copytree(before, after)
    operations = record(after, lambda: writer(after / "f"))
    found = [
        (state.done == len(operations), state.tree.get("f"))
        for state in crash_states(before, operations)
    ]
    lost = [content for done, content in found if content != NEW and (done or content != OLD)]
    assert bool(lost) == loses
