"""The subject `busy`: who trains beside whom, and how figures follow."""

import json
import os
import sys
from pathlib import Path

import pytest

from bench import busy
from bench.cli import main


def _rows(tokens_per_second: float, num_steps: int) -> list[dict[str, object]]:
    """A first step that takes long, then steps of 100 tokens."""
    rows = [
        {"kind": "train", "tokens": 100 * step, "seconds": 50 + 100 * step / tokens_per_second}
        for step in range(1, num_steps + 1)
    ]
    return [*rows, {"kind": "evaluation", "tokens": 0, "seconds": 0.0}]


def test_each_way_to_wait_trains_alone_and_beside_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    num_others: list[int] = []
    real, speeds = busy.subprocess.Popen, iter([400.0, 400.0, 200.0, 20.0])

    def start(command: list[str]) -> object:
        num_others.append(len(asked))
        return real([sys.executable, "-c", "pass"])

    def train(options: list[str], *, environment: dict[str, str]) -> tuple[dict, list]:
        steps = int(options[options.index("--training.max-steps") + 1])
        asked.append((environment.get("GOMP_SPINCOUNT"), steps))
        assert "OMP_WAIT_POLICY" not in environment
        return {}, _rows(next(speeds), steps)

    asked: list[tuple[str | None, int]] = []
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setattr(busy, "fetch_extras", lambda names: None)
    monkeypatch.setattr(busy.subprocess, "Popen", start)
    monkeypatch.setattr(busy, "train", train)
    monkeypatch.setattr(busy, "describe_machine", lambda names: {"cpus": os.cpu_count()})
    out = tmp_path / "busy.json"
    words = ["bench", "busy", "--rounds", "1", "--steps", "50", "--others", "3", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert asked == [(None, 50), ("300000", 50), (None, 50), ("300000", 5)]
    assert num_others == [2, 2, 2, 3, 3, 3]  # none beside the first two
    samples = json.loads(out.read_text())["samples"]
    assert samples["trainer's"] == {"alone": [pytest.approx(400)], "beside": [pytest.approx(200)]}
    assert samples["OpenMP's own"]["beside"] == [pytest.approx(20)]
    printed = capsys.readouterr().out
    assert "2.0" in printed
    assert "20.0" in printed


def test_busy_processes_are_there_in_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    real = busy.subprocess.Popen

    def start(command: list[str]) -> object:
        started.append(real(command))
        return started[-1]

    monkeypatch.setattr(busy.subprocess, "Popen", start)
    with busy.busy_processes(2):
        assert [other.poll() for other in started] == [None, None]
    assert all(other.returncode is not None for other in started)
