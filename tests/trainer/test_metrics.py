"""The metrics file: strict JSON lines, append only, cut back on resume."""

import json
import math
import sys
from pathlib import Path

import pytest
from faults.disk import Disk
from hypothesis import given
from hypothesis import strategies as st

from trainer.monitoring.metrics import MetricsLog, read_metrics


def _train_row(step: int, **changes: object) -> dict:
    row = {"kind": "train", "step": step, "seconds": step / 2, "tokens": 64 * step, "loss": 2.5}
    return row | changes


def test_rows_come_back_with_unknown_fields_as_none(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append(_train_row(1, learning_rate=1e-3, grad_norm=0.5, tokens_per_second=9.0, mfu=None))
    log.append({"kind": "evaluation", "step": 1, "loss": 2.25})
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert first == _train_row(
        1, learning_rate=1e-3, grad_norm=0.5, tokens_per_second=9.0, mfu=None
    )
    assert (second["kind"], second["loss"], second["mfu"]) == ("evaluation", 2.25, None)


def test_every_line_is_self_describing_json(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m")
    log.append(_train_row(1))
    log.append(_train_row(2))
    lines = [json.loads(line) for line in (tmp_path / "m").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {(line["format"], line["version"]) for line in lines} == {("trainer.metrics", 1)}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_strict_json_and_come_back(
    tmp_path: Path, value: float
) -> None:
    MetricsLog(tmp_path / "m").append(_train_row(1, loss=value, grad_norm=value))
    text = (tmp_path / "m").read_text()
    json.loads(text, parse_constant=pytest.fail)
    [row] = read_metrics(tmp_path / "m")
    assert str(row["loss"]) == str(row["grad_norm"]) == str(value)


@given(losses=st.lists(st.floats(), max_size=5))
def test_floats_round_trip_exactly(
    tmp_path_factory: pytest.TempPathFactory, losses: list[float]
) -> None:
    path = tmp_path_factory.mktemp("metrics") / "m"
    log = MetricsLog(path)
    path.touch()
    for step, loss in enumerate(losses):
        log.append(_train_row(step, loss=loss))
    assert [repr(row["loss"]) for row in read_metrics(path)] == list(map(repr, losses))


def test_rows_are_readable_while_the_log_is_open(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m")
    for step in (1, 2):
        log.append(_train_row(step))
        assert len(read_metrics(tmp_path / "m")) == step


def test_truncation_drops_what_lies_beyond_the_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m")
    for step in range(1, 6):
        log.append(_train_row(step))
        log.append({"kind": "evaluation", "step": step, "loss": 1.0})
    before = (tmp_path / "m").read_text().splitlines()
    log.truncate_after(3)
    assert (tmp_path / "m").read_text().splitlines() == before[:6]
    log.append(_train_row(4, loss=math.nan))
    assert [row["step"] for row in read_metrics(tmp_path / "m")] == [1, 1, 2, 2, 3, 3, 4]


def test_truncation_before_the_first_row_is_no_error(tmp_path: Path) -> None:
    MetricsLog(tmp_path / "m").truncate_after(0)
    assert not (tmp_path / "m").exists()


def test_torn_last_line_is_left_out_and_dropped_when_the_log_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "m"
    MetricsLog(path).append(_train_row(1))
    whole = path.read_text()
    path.write_text(whole + whole[:20])
    assert [row["step"] for row in read_metrics(path)] == [1]
    MetricsLog(path).append(_train_row(2))
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{torn", r"line 2 is not JSON"),
        ("[1]", r"line 2 is not a JSON object"),
        ('{"step": 1}', r"line 2 is of format None"),
    ],
)
def test_line_that_is_no_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "m"
    MetricsLog(path).append(_train_row(1))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=message):
        read_metrics(path)


@pytest.mark.parametrize(
    "change", [{"kind": "test"}, {"step": None}, {"lr": 0.1}, {"step": 1.5}, {"kind": None}]
)
def test_row_that_readers_would_not_understand_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="metrics row"):
        MetricsLog(tmp_path / "m").append(_train_row(1) | change)
    assert not (tmp_path / "m").exists()


def test_lines_that_are_no_rows_are_dropped_and_counted_when_a_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "m"
    log = MetricsLog(path)
    log.append(_train_row(1))
    path.write_bytes(path.read_bytes() + b"\0" * 50 + b"\n")
    log.append(_train_row(2))
    assert log.truncate_after(2) == 1
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="the fault layer reads /proc")
def test_a_row_that_the_disk_refuses_leaves_no_half_a_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m")
    log.append(_train_row(1))
    with Disk(tmp_path, at=1, fault="torn"), pytest.raises(OSError, match="No space"):
        log.append(_train_row(2))
    log.append(_train_row(3))
    assert [row["step"] for row in read_metrics(tmp_path / "m")] == [1, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="the fault layer reads /proc")
def test_a_patient_log_writes_later_what_the_disk_refused(tmp_path: Path) -> None:
    said = []
    log = MetricsLog(tmp_path / "m", is_patient=True, say=said.append)
    with Disk(tmp_path, at=0, fault="ENOSPC", for_good=True):
        log.append(_train_row(1))
        log.append(_train_row(2))
    log.append(_train_row(3))
    assert [row["step"] for row in read_metrics(tmp_path / "m")] == [1, 2, 3]
    assert len(said) == 1
