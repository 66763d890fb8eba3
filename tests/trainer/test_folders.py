"""Folders that are built once: whole after a power cut, and built by one process of two."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults.disk import record
from faults.power import crash_states

from trainer.config.run_config import CorpusConfig, TokenizerConfig
from trainer.data import preparation as prepare_module
from trainer.data.preparation import prepare
from trainer.data.shared_folder import open_or_build
from trainer.monitoring.progress import Reporter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks; the layer reads /proc")

CONTENT = {"record": b"what is in b", "inner/b": b"some bytes"}


def _build(folder: Path) -> None:
    (folder / "inner").mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)


def _read(folder: Path) -> dict[str, bytes]:
    found = {name: (folder / name).read_bytes() for name in CONTENT}
    if found != CONTENT:
        raise ValueError(f"{folder} holds {found}")
    return found


def _open(root: Path) -> bool:
    """Return whether the folder was there already."""
    reporter = Reporter(mode="silent")
    found, is_there = open_or_build(
        root / "kind" / "folder", read=_read, build=_build, reporter=reporter
    )
    assert found == CONTENT
    return is_there


def test_a_folder_that_was_returned_outlives_a_power_cut(tmp_path: Path) -> None:
    root, before, place = tmp_path / "root", tmp_path / "before", tmp_path / "place"
    root.mkdir()
    before.mkdir()
    operations = record(root, lambda: _open(root))
    states = list(crash_states(before, operations))
    assert all("kind/folder" in state.tree for state in states if state.done == len(operations))
    for state in {tuple(sorted(state.tree.items())): state for state in states}.values():
        state.write(place)
        assert _open(place) == ("kind/folder" in state.tree), state  # what has its name is whole
        assert {path.name for path in (place / "kind").iterdir()} - {".folder.lock"} == {"folder"}
        shutil.rmtree(place)


def test_a_finished_folder_is_read_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _open(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("trainer.data.shared_folder.file_lock", refuse)
    monkeypatch.setattr("trainer.data.shared_folder.make_directory", refuse)
    assert _open(tmp_path)


@pytest.mark.parametrize("stage", ["tokenizer", "tokens"])
def test_of_two_processes_one_builds_and_the_other_uses_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 30)
    (tmp_path / "held-out.txt").write_text("the mat sat on the cat\n")
    corpus = CorpusConfig(
        source="files",
        train=(tmp_path / "text.txt",),
        validation=(tmp_path / "held-out.txt",),
        cache_dir=tmp_path / "data",
    )
    config = SimpleNamespace(
        corpus=corpus, tokenizer=TokenizerConfig(vocab_size=262, num_workers=1)
    )
    name = {"tokenizer": "_train_tokenizer", "tokens": "_encode"}[stage]
    work, builds = getattr(prepare_module, name), tmp_path / "builds"

    def slow_work(*arguments: object, **options: object) -> None:
        with builds.open("a") as file:
            file.write(f"{os.getpid()}\n")
        _wait_for(tmp_path / "go on")
        work(*arguments, **options)

    monkeypatch.setattr(prepare_module, name, slow_work)
    logs = [tmp_path / "first", tmp_path / "second"]
    children = []
    for log in logs:
        children.append(_start(lambda: prepare(config, reporter=Reporter(mode="lines")), log))
        _wait_for(builds)
    # Only once the second one waits may the first one end.
    _wait_for(logs[1], f"another process is building {next((tmp_path / 'data').iterdir()) / stage}")
    (tmp_path / "go on").touch()
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert statuses == [0, 0], [log.read_text() for log in logs]
    assert builds.read_text() == f"{children[0]}\n"
    # What comes after the stage may be either's work.
    reused = [log.read_text().partition("reusing")[2] for log in logs]
    said = {"tokenizer": ": tokenizer", "tokens": "token files"}[stage]
    assert (said in reused[0], said in reused[1]) == (False, True), reused


def _start(action: Callable[[], object], log: Path) -> int:
    """Run `action` in a process of its own, which says what it says into a file."""
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            sys.stderr = os.fdopen(2, "w", buffering=1)
            action()
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    return child


def _wait_for(path: Path, text: str = "") -> None:
    """Wait until a file is there, and has a text in it."""
    ends = time.monotonic() + 60
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < ends, f"{path} never came to hold {text!r}"
        time.sleep(0.01)
