"""Trackers get every row once, by their real libraries, and never harm the run."""

import importlib.util
import json
import socket
import struct
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from faults.tiny_run import run_tiny, tiny_config

from trainer.config.run_config import LoggingConfig
from trainer.monitoring.metrics import MetricsLog, MetricsRow
from trainer.tracking import Tracking, fan_out, require_trackers
from trainer.tracking.trackers import TrackedRun, Tracker, find_tracker

Seen = list[tuple[int, str, float]]


@pytest.fixture(autouse=True)
def attempts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """Keep the libraries here; return the addresses elsewhere that they tried to reach."""
    tried: list[object] = []
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            tried.append(address)
            raise OSError("there is no network in this test")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    for name in ("WANDB_MODE", "WANDB_ERROR_REPORTING", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")  # so that what the code sets is undone
        monkeypatch.delenv(name)
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    return tried


@pytest.fixture
def trackio_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    from trackio import sqlite_storage

    folder = tmp_path / "trackio"
    folder.mkdir()
    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", folder)
    return folder


def _tracking(folder: Path, *names: str, said: list[str] | None = None) -> Tracking:
    say = (lambda line: None) if said is None else said.append
    return Tracking(names, folder=folder, project="tests", settings={"seed": "0"}, say=say)


def _rows(first: int, last: int) -> Iterator[MetricsRow]:
    for step in range(first, last + 1):
        yield {"kind": "train", "step": step, "loss": 8 / step, "grad_norm": 0.5, "mfu": None}
        if step % 3 == 0:
            yield {"kind": "evaluation", "step": step, "loss": 9 / step}


def _log(tracking: Tracking, folder: Path, first: int, last: int) -> None:
    metrics = MetricsLog(folder / "metrics.jsonl")
    for row in _rows(first, last):
        metrics.append(row)
        tracking.log(row)


def _expected(last: int) -> Seen:
    names = {"train": "train/loss", "evaluation": "validation/loss"}
    losses = [(row["step"], names[row["kind"]], row["loss"]) for row in _rows(1, last)]
    return sorted(losses + [(step, "train/grad_norm", 0.5) for step in range(1, last + 1)])


def _resume_after_a_kill(folder: Path, name: str) -> None:
    """Go to step 5 and stop at once; then resume from the checkpoint of step 3, to step 8."""
    killed = _tracking(folder, name)
    killed.open(0)
    _log(killed, folder, 1, 5)
    killed._trackers[name].close()  # the library's process outlives a kill; our own notes do not
    resumed = _tracking(folder, name)
    MetricsLog(folder / "metrics.jsonl").truncate_after(3)
    resumed.open(3)
    _log(resumed, folder, 4, 8)
    resumed.close({"validation_loss": 1.0})


def test_tensorboard_shows_every_row_once_through_kill_and_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _resume_after_a_kill(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    names = [name for name in events.Tags()["scalars"] if not name.startswith("final/")]
    seen = sorted((e.step, name, e.value) for name in names for e in events.Scalars(name))
    assert [entry[:2] for entry in seen] == [entry[:2] for entry in _expected(8)]
    assert [entry[2] for entry in seen] == pytest.approx([entry[2] for entry in _expected(8)])
    assert [event.value for event in events.Scalars("final/validation_loss")] == [1.0]


def test_wandb_has_every_row_once_and_stays_offline(tmp_path: Path, attempts: list[object]) -> None:
    _resume_after_a_kill(tmp_path, "wandb")
    seen, runs = _read_wandb(tmp_path / "wandb")
    assert sorted(entry for entry in seen if not entry[1].startswith("final/")) == _expected(8)
    assert (8, "final/validation_loss", 1.0) in seen
    assert len(runs) == 1 and attempts == []


def test_trackio_has_every_row_once_and_stays_here(
    tmp_path: Path, trackio_folder: Path, attempts: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    _resume_after_a_kill(tmp_path, "trackio")
    assert attempts == []
    [run] = SQLiteStorage.get_run_records("tests")
    rows = SQLiteStorage.get_logs("tests", run["name"])
    seen = [(row["step"], k, v) for row in rows for k, v in row.items() if "/" in k]
    assert sorted(entry for entry in seen if not entry[1].startswith("final/")) == _expected(8)
    assert (8, "final/validation_loss", 1.0) in seen
    assert capsys.readouterr().out == "", "stdout is for results"


class _Fake:
    """A tracker that remembers, and breaks on request."""

    where = "here"

    def __init__(self, name: str, run: TrackedRun, *, after_step: int) -> None:
        self.seen: list[int] = []
        self.breaks_at = _Fake.broken.get(name)
        _Fake.made.append((name, run.id, after_step, self.seen))

    broken: ClassVar[dict[str, int]] = {}
    made: ClassVar[list[tuple[str, str, int, list[int]]]] = []

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        if step == self.breaks_at:
            raise RuntimeError("disk full\nin a library")
        if "train/loss" in values:
            self.seen.append(step)

    def close(self) -> None:
        if self.breaks_at == -1:
            raise RuntimeError("cannot say goodbye")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[_Fake]:
    monkeypatch.setattr(fan_out, "open_tracker", _Fake)
    monkeypatch.setattr(_Fake, "made", [])
    monkeypatch.setattr(_Fake, "broken", {})
    return _Fake


def test_a_tracker_that_fails_is_told_once_and_gets_the_rest_later(
    tmp_path: Path, fake: type[_Fake]
) -> None:
    said: list[str] = []
    fake.broken["wandb"] = 4
    tracking = _tracking(tmp_path, "wandb", "trackio", said=said)
    tracking.open(0)
    _log(tracking, tmp_path, 1, 6)
    tracking.close()
    assert [line for line in said if line.startswith("warning")] == [
        "warning: wandb failed at step 4 and receives no more rows (RuntimeError: disk full "
        f"in a library); the run continues, {tmp_path / 'metrics.jsonl'} is complete, and a "
        "resumed run sends it the rest"
    ]
    assert [entry[3] for entry in fake.made] == [[1, 2, 3], [1, 2, 3, 4, 5, 6]]
    fake.broken.clear()
    again = _tracking(tmp_path, "wandb", "trackio")
    again.open(6)
    again.close()
    assert [(name, seen) for name, _, _, seen in fake.made[2:]] == [
        ("wandb", [4, 5, 6]),
        ("trackio", []),
    ]
    assert len({entry[1] for entry in fake.made}) == 1, "the same run all along"


def test_a_tracker_asked_for_late_gets_what_was_before(tmp_path: Path, fake: type[_Fake]) -> None:
    first = _tracking(tmp_path)
    first.open(0)
    _log(first, tmp_path, 1, 3)
    first.close()
    assert not (tmp_path / "tracking.json").exists()
    late = _tracking(tmp_path, "trackio")
    late.open(3)
    _log(late, tmp_path, 4, 5)
    late.close()
    assert fake.made[0][3] == [1, 2, 3, 4, 5]


def test_what_a_killed_process_kept_in_memory_comes_back_in_tensorboard(
    tmp_path: Path, fake: type[_Fake]
) -> None:
    for checkpoint, last in ((0, 5), (3, 8)):
        tracking = _tracking(tmp_path, "tensorboard")
        MetricsLog(tmp_path / "metrics.jsonl").truncate_after(checkpoint)
        tracking.open(checkpoint)
        _log(tracking, tmp_path, checkpoint + 1, last)
    assert [entry[2] for entry in fake.made] == [0, 0], "nothing is sure to have been handed over"
    assert fake.made[1][3] == list(range(1, 9))


def test_two_kills_in_a_row_repeat_nothing(tmp_path: Path, fake: type[_Fake]) -> None:
    for checkpoint, last in ((0, 8), (3, 5), (3, 9)):
        tracking = _tracking(tmp_path, "wandb")
        MetricsLog(tmp_path / "metrics.jsonl").truncate_after(checkpoint)
        tracking.open(checkpoint)
        _log(tracking, tmp_path, checkpoint + 1, last)
    assert [step for _, _, _, seen in fake.made for step in seen] == list(range(1, 10))


@pytest.mark.parametrize("content", ["", "[]", '{"format": "trainer.tracking", "version": 1}'])
def test_a_damaged_note_of_the_trackers_does_not_stop_a_run(
    tmp_path: Path, fake: type[_Fake], content: str
) -> None:
    (tmp_path / "tracking.json").write_text(content)
    said: list[str] = []
    tracking = _tracking(tmp_path, "wandb", said=said)
    tracking.open(0)
    tracking.close()
    assert "tracking.json is damaged" in said[0]
    assert json.loads((tmp_path / "tracking.json").read_text())["trackers"]["wandb"]


def test_a_run_goes_on_to_its_end_when_its_tracker_fails(tmp_path: Path, fake: type[_Fake]) -> None:
    fake.broken["wandb"] = 4
    config = tiny_config(tmp_path, logging__track=("wandb",))
    result, said = run_tiny(config, tmp_path / "run")
    assert result.summary is not None and said.count("warning: wandb failed") == 1
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [row["step"] for row in map(json.loads, lines) if row["kind"] == "train"]
    assert steps == [2, 4, 6, 8, 10, 12]


def test_a_tracker_that_cannot_say_goodbye_is_told(tmp_path: Path, fake: type[_Fake]) -> None:
    said: list[str] = []
    fake.broken["wandb"] = -1
    tracking = _tracking(tmp_path, "wandb", said=said)
    tracking.open(0)
    tracking.close()
    assert "cannot say goodbye" in said[-1]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_missing_extra_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("trainer.tracking.trackers.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=f"uv sync --package trainer --extra {name}"):
        run_tiny(tiny_config(tmp_path, logging__track=(name,)), tmp_path / "run")
    assert not (tmp_path / "run").exists() and not (tmp_path / "prepared").exists()


def test_what_is_installed_is_not_missing() -> None:
    require_trackers(["tensorboard", "wandb", "trackio"])
    assert importlib.util.find_spec("tensorboardX") is not None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"track": ("wandb", "wandb")}, "each tracker once"),
        ({"track_project": "a/b"}, "track-project is 'a/b'"),
        ({"track_project": ""}, "track-project is ''"),
    ],
)
def test_nonsense_is_refused(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        LoggingConfig(**fields)


def _read_wandb(folder: Path) -> tuple[Seen, set[str]]:
    """Return the history in all files of a folder, and the runs they belong to."""
    from wandb.proto.wandb_internal_pb2 import Record

    seen, runs = [], set()
    for path in sorted(folder.glob("offline-run-*/*.wandb")):
        for data in _leveldb_records(path.read_bytes()):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") == "run":
                runs.add(record.run.run_id)
            for item in record.history.item:
                name = item.key or "/".join(item.nested_key)
                if "/" in name:
                    seen.append((record.history.step.num, name, json.loads(item.value_json)))
    return seen, runs


def _leveldb_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of LevelDB's log format: blocks of 32 KiB, records whole or in parts."""
    full, first, last, block, header = 1, 2, 4, 1 << 15, 7
    place, begun = header, b""  # W&B's own header is as long as a record's
    while place + header <= len(data):
        left = block - place % block
        if left < header:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        body = data[place + header : place + header + length]
        begun = body if kind in (full, first) else begun + body
        if kind in (full, last):
            yield begun
        place += header + length


def test_every_tracker_that_registers_is_one_that_a_run_may_name() -> None:
    names = typing.get_args(typing.get_args(typing.get_type_hints(LoggingConfig)["track"])[0])
    assert set(names) >= {"tensorboard", "wandb", "trackio"}
    assert all(issubclass(find_tracker(name), Tracker) for name in names)
