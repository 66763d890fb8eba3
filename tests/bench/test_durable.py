"""Files that are kept are complete or absent, in folders that may be missing."""

import os
from pathlib import Path

import pytest

from bench.durable import write_atomically


def test_a_file_is_whole_and_alone_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "table.json"
    for content in (b"first", b"second"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.json"
    write_atomically(path, b"first")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
