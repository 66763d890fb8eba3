"""`--resume auto`: the newest run that can be resumed; skipped ones are reported."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.tiny_run import run_tiny, tiny_config

from trainer.cli.run_arguments import parse_train
from trainer.config.presets import config_to_toml, load_preset
from trainer.config.run_config import RunConfig
from trainer.resuming import find_run_to_resume
from trainer.storage.run_directory import create_run, hold_run

PRESET = "quickstart"


def _make_run(path: Path, config: RunConfig | None = None) -> Path:
    run = create_run(path)
    run.config.write_text(config_to_toml(config or load_preset(PRESET)))
    return run.path


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_auto_takes_the_highest_number_that_is_a_run() -> None:
    for name in ("quickstart-9", "quickstart-002", "quickstart-10", "quickstart-b-100", "b-200"):
        _make_run(Path("runs") / name)
    assert find_run_to_resume("auto", preset=PRESET) == (Path("runs/quickstart-10"), ())


def test_auto_passes_over_an_empty_folder_and_reports_it() -> None:
    older = _make_run(Path("runs/quickstart-001"))
    Path("runs/quickstart-002").mkdir()
    request = parse_train(["--resume", "auto"])
    assert (request.run_dir, request.resume) == (older, True)
    assert request.notes == (
        "skipped runs/quickstart-002: it has no config.toml, so it never became a run",
    )


def _killed_start(path: Path) -> None:
    path.mkdir()
    (path / "run.lock").write_text('{"pid": 1, "host": "gone"}')
    (path / ".config.toml.123.tmp").touch()


def _broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def _unreadable(path: Path) -> None:
    (_make_run(path) / "config.toml").write_text("preset = ")


def _damaged_data(path: Path) -> None:
    (_make_run(path) / "data.json").write_text("{")


def _damaged_sittings(path: Path) -> None:
    (_make_run(path) / "sittings.jsonl").write_text("garbage")


def _foreign(path: Path) -> None:
    _make_run(path, load_preset("tinystories"))


def _folder_of_files(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").touch()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.touch, "is a file"),
        (_broken_link, "broken link"),
        (_killed_start, "never became a run"),
        (_folder_of_files, "no config.toml"),
        (_unreadable, "config.toml"),
        (_damaged_data, "data.json is not valid JSON"),
        (_damaged_sittings, "sittings.jsonl"),
        (_foreign, "of the preset tinystories"),
    ],
)
def test_auto_passes_over_what_is_no_run_with_its_reason(
    make: Callable[[Path], None], reason: str
) -> None:
    older = _make_run(Path("runs/quickstart-001"))
    make(Path("runs/quickstart-002"))
    found, notes = find_run_to_resume("auto", preset=PRESET)
    assert found == older
    assert len(notes) == 1
    assert notes[0].startswith("skipped runs/quickstart-002: ")
    assert reason in notes[0]


def test_auto_passes_over_a_run_that_a_living_process_holds() -> None:
    older = _make_run(Path("runs/quickstart-001"))
    run = create_run(Path("runs/quickstart-002"))
    _make_run(run.path)
    with hold_run(run, say=pytest.fail):
        before = run.lock.read_bytes()
        found, notes = find_run_to_resume("auto", preset=PRESET)
        assert run.lock.read_bytes() == before
    assert found == older
    assert f"in use by process {os.getpid()}" in notes[0]
    assert find_run_to_resume("auto", preset=PRESET)[0] == run.path


def test_a_finished_run_is_no_reason_to_start_another(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, training__max_steps=2)
    run_tiny(config, Path("runs/quickstart-001"))
    assert find_run_to_resume("auto", preset=PRESET) == (Path("runs/quickstart-001"), ())
    assert parse_train(["--resume", "auto", "--training.max-steps", "3"]).resume


def test_auto_prefers_run_dir(tmp_path: Path) -> None:
    _make_run(Path("runs/quickstart-001"))
    mine = _make_run(tmp_path / "mine")
    assert find_run_to_resume("auto", preset=PRESET, run_dir=mine) == (mine, ())
    found, [note] = find_run_to_resume("auto", preset=PRESET, run_dir=tmp_path / "new")
    assert found is None
    assert note == f"no run to resume at {tmp_path / 'new'}: starting a new run"


def test_a_named_run_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a run directory: it has no config\.toml"):
        find_run_to_resume(str(tmp_path), preset=PRESET)
    run = _make_run(tmp_path / "run")
    with pytest.raises(ValueError, match="name one run"):
        find_run_to_resume(str(run), preset=PRESET, run_dir=tmp_path / "other")
