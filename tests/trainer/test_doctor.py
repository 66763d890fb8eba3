"""The doctor: all is whole, or what is not is named."""

import json
import re
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults.forgery import forge_optimizer, forge_state
from faults.tiny_run import run_tiny, tiny_config

from trainer.cli import commands as cli
from trainer.doctor import examine


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    run_tiny(tiny_config(folder), folder / "run")
    return folder / "run"


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "run")
    return tmp_path / "run"


def test_a_run_that_nothing_happened_to_is_whole(run: Path) -> None:
    findings = list(examine(run))
    assert [finding for finding in findings if not finding.is_whole] == []
    seen = {finding.path.name for finding in findings}
    assert seen >= {"config.toml", "data.json", "tokenizer", "metrics.jsonl", "step-12", "step-10"}
    assert seen >= {"summary.json", "loss.svg", "step-12.txt", "train.npy", "validation.npy"}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("checkpoints/step-12/optimizer.safetensors", "checkpoints/step-12"),
        ("checkpoints/step-10/manifest.json", "checkpoints/step-10"),
        ("tokenizer/merges.txt", "tokenizer"),
        ("summary.json", "summary.json"),
        ("data.json", "data.json"),
        ("loss.svg", "loss.svg"),
    ],
)
def test_a_file_that_changed_is_named(run: Path, name: str, found: str) -> None:
    path = run / name
    path.write_bytes(path.read_bytes()[:-20])
    damaged = [finding.path for finding in examine(run) if not finding.is_whole]
    assert run / found in damaged


@pytest.mark.parametrize("name", ["train.npy", "train.documents.npy", "train.json"])
def test_prepared_data_that_changed_is_named(original: Path, name: str) -> None:
    [path] = (original.parent / "prepared").glob(f"*/tokens/{name}")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + whole[-20:].replace(b"\0", b"\1").replace(b"]", b" ]"))
    [finding] = [finding for finding in examine(original) if not finding.is_whole]
    path.write_bytes(whole)
    assert finding.path.name == "train.npy"
    assert f"{path} has SHA-256" in finding.text


FORGERIES = {
    "steps": (partial(forge_state, step=-12), "step"),
    "tokens": (partial(forge_state, tokens=-1), "'tokens': -1"),
    "seconds": (partial(forge_state, seconds=float("nan")), "'seconds': nan"),
    "skipped": (partial(forge_state, skipped=True), "'skipped': True"),
    "rate": (
        partial(forge_optimizer, change=lambda tensors, rest: _set_rate(rest, -1.0)),
        "lr of group 0 is -1.0",
    ),
}


def _set_rate(rest: Any, rate: float) -> None:
    pairs = dict(rest["state"]["map"])["param_groups"][0]["map"]
    next(pair for pair in pairs if pair[0] == "lr")[1] = rate


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_checkpoint_that_no_run_can_go_on_from_is_named_and_refused(
    original: Path, run: Path, kind: str
) -> None:
    forge, words = FORGERIES[kind]
    newest = run / "checkpoints" / "step-12"
    forge(newest)
    [finding] = [finding for finding in examine(run) if not finding.is_whole]
    assert finding.path == newest
    assert words in finding.text
    assert f"remove {newest} to resume from the checkpoint before" in finding.text
    (run / "summary.json").unlink()
    with pytest.raises(ValueError, match=re.escape(words)):
        run_tiny(tiny_config(original.parent), run, resume=True)


def test_what_is_not_looked_at_is_named(run: Path) -> None:
    (run / "report.html").touch()
    [finding] = [finding for finding in examine(run) if "not checked" in finding.text]
    assert (finding.path, finding.is_whole) == (run / "report.html", True)


def test_rows_out_of_order_are_named(run: Path) -> None:
    path = run / "metrics.jsonl"
    path.write_text(path.read_text() * 2)
    [finding] = [finding for finding in examine(run) if not finding.is_whole]
    assert finding.path == path
    assert "train of step 2 follows evaluation of step 12" in finding.text


def test_the_command_says_it_by_its_exit_code(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for damage, code in ((False, 0), (True, 1)):
        if damage:
            _flip(run / "checkpoints" / "step-12" / "model.safetensors")
        monkeypatch.setattr(sys, "argv", ["doctor", str(run), "--json"])
        with pytest.raises(SystemExit) as caught:
            cli.doctor()
        assert caught.value.code == code
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["state"] for row in rows].count("damaged") == code
