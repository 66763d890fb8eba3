"""Run directories: the next free one, the one to resume, refusal of the rest."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.disk import in_fork

from trainer.storage.file_lock import exclusive_lock
from trainer.storage.run_directory import (
    create_run,
    hold_new_run,
    hold_run,
    read_json,
    require_free,
    write_json_atomically,
)


def _make_run(path: Path) -> Path:
    run = create_run(path)
    run.config.write_text("")
    return run.path


def _next_run(runs: Path) -> str:
    with hold_new_run(None, preset="a", say=pytest.fail, runs=runs) as run:
        return run.path.name


def test_numbers_count_on_from_the_highest_run_of_the_preset(tmp_path: Path) -> None:
    assert _next_run(tmp_path) == "a-001"
    for name in ("a-001", "a-007", "a-b-100", "b-009", "a-xyz"):
        _make_run(tmp_path / name)
    assert _next_run(tmp_path) == "a-008"


def test_a_number_that_never_became_a_run_is_used_again(tmp_path: Path) -> None:
    _make_run(tmp_path / "a-001")
    (tmp_path / "a-002").mkdir()
    (tmp_path / "a-002" / "run.lock").touch()
    assert _next_run(tmp_path) == "a-002"
    (tmp_path / "a-002" / "notes.txt").touch()
    assert _next_run(tmp_path) == "a-003"


def test_runs_that_begin_at_once_take_different_numbers(tmp_path: Path) -> None:
    def hold() -> Iterator[str]:
        with hold_new_run(None, preset="a", say=pytest.fail, runs=tmp_path) as run:
            yield run.path.name

    first, second = hold(), hold()
    assert (next(first), next(second)) == ("a-001", "a-002")
    first.close()  # as if it were killed before its config.toml
    assert _next_run(tmp_path) == "a-001"
    _make_run(tmp_path / "a-001")
    assert _next_run(tmp_path) == "a-003"  # the second still holds its own


def test_a_run_that_another_process_is_about_to_begin_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with (
        hold_new_run(path, preset="a", say=pytest.fail),
        pytest.raises(ValueError, match="x is in use by process"),
        hold_new_run(path, preset="a", say=pytest.fail),
    ):
        pytest.fail("two processes hold one run")


def test_an_existing_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"exists; name another with --run-dir"):
        create_run(tmp_path)
    (tmp_path / "config.toml").touch()
    with pytest.raises(
        ValueError, match=r"exists; resume it with uv run .* train --resume .* --run-dir"
    ):
        create_run(tmp_path)


def test_what_a_killed_process_left_before_the_run_began_is_taken_over(tmp_path: Path) -> None:
    for name in ("run.lock", "data.json", ".config.toml.123.tmp"):
        (tmp_path / name).touch()
    run, said = create_run(tmp_path), []
    with hold_run(run, say=said.append):
        assert [path.name for path in sorted(tmp_path.iterdir())] == ["data.json", "run.lock"]
    assert len(said) == 1
    assert ".config.toml.123.tmp, left by an interrupted process" in said[0]


def test_a_run_that_is_held_is_refused_with_its_holder(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run")
    with hold_run(run, say=pytest.fail):
        holder = f"in use by process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(ValueError, match=holder), hold_run(run, say=pytest.fail):
            pass
    with hold_run(run, say=pytest.fail):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_lock_whose_holder_died_is_recognised(tmp_path: Path) -> None:
    run, said = create_run(tmp_path / "run"), []

    def die_holding_it() -> None:
        with exclusive_lock(run.lock, what=""):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_fork(die_holding_it) == -signal.SIGKILL
    owner = json.loads(run.lock.read_bytes())
    with hold_run(run, say=said.append):
        pass
    assert said == [
        f"process {owner['pid']} on {socket.gethostname()} was killed while training in "
        f"{run.path}; taking over"
    ]


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file is not a directory; name another with --run-dir"):
        require_free(tmp_path / "file" / "run")
    require_free(tmp_path / "new" / "run")


def test_json_is_read_back_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json_atomically(path, {"name": "Straße"})
    assert read_json(path) == {"name": "Straße"}
    assert [item.name for item in tmp_path.iterdir()] == ["x.json"]
    path.write_text("{")
    with pytest.raises(ValueError, match=r"x\.json is not valid JSON"):
        read_json(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="must hold a JSON object"):
        read_json(path)
