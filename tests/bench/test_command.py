"""The command: what it offers, what it refuses, and one whole run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.contestants import peers
from bench.tokenization import subject as tokenization

STDLIB = Path(os.__file__).parent


def _bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = "from bench.cli import main; main()"
    environment = {**os.environ, "BENCH_STARTED_AGAIN": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_a_module_that_torch_lacks_is_named_in_a_line() -> None:
    code = "import sys; sys.modules['_multiprocessing'] = None; sys.argv[0] = 'bench'\n"
    code += "from bench.cli import main; main()"
    words = [sys.executable, "-c", code, "sgd-toy", "--steps", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "_multiprocessing" in done.stderr and "install what is missing" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["tokenization", "--help"]])
def test_help_names_every_option(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SystemExit, match="0"),
    ):
        patch.setattr(sys, "argv", ["bench", *arguments])
        main()
    shown = capsys.readouterr().out
    for option in ("--json", "--svg", "--rounds", "--threads", "--only", "--quick", "--gpt2-dir"):
        assert option in shown


def test_an_unknown_contest_is_refused_with_those_there_are() -> None:
    done = _bench("tokenization", "--only", "encode,sing")
    assert done.returncode == 2
    assert "no contest 'sing'; there are encode, disk" in done.stderr


def test_a_missing_corpus_is_one_line(tmp_path: Path) -> None:
    done = _bench("tokenization", tmp_path / "no.txt", "--cache-dir", tmp_path, "--quick")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("bench: error: ")


def test_a_missing_gpt2_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("text")
    options = ("--cache-dir", tmp_path, "--gpt2-dir", tmp_path, "--quick")
    done = _bench("tokenization", tmp_path / "x.txt", *options)
    assert "holds neither vocab.json and merges.txt nor gpt2_vocab.json" in done.stderr


def test_missing_peers_are_fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: started.append(command))
    monkeypatch.setattr(peers, "installed_version", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["bench", "tokenization", "--quick"])
    monkeypatch.setattr(os, "environ", {"UV": "uv"})
    peers.fetch_extras()
    peers.fetch_extras()
    command = "uv run --package bench --all-extras bench tokenization --quick"
    assert started == [command.split()]


def test_without_uv_missing_peers_stay_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "installed_version", lambda name: None)
    monkeypatch.setattr(os, "environ", {})
    peers.fetch_extras()
    assert peers.why_missing("rustbpe") == "not installed; it comes with `--extra peers`"


def test_every_contest_is_offered() -> None:
    folder = Path(tokenization.__file__).parent / "contests"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "setting"}
    assert set(tokenization._CONTESTS) == modules


@pytest.mark.slow
def test_a_whole_run_on_one_megabyte(tmp_path: Path) -> None:
    files = sorted(STDLIB.glob("*.py"))
    text = "<|endoftext|>".join(path.read_text(encoding="utf-8") for path in files)
    (tmp_path / "stdlib.txt").write_text(text[:1_000_000], encoding="utf-8")
    outputs = ("--json", tmp_path / "x.json", "--svg", tmp_path / "x.svg")
    options = ("--quick", "--patience", "0", "--cache-dir", tmp_path / "cache", *outputs)
    done = _bench("tokenization", tmp_path / "stdlib.txt", *options)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["problems"] == []
    assert {row["key"] for row in content["rows"]} >= {"encode-cold", "train-memory", "jit"}
    (encode,) = [one for one in content["contests"] if one["contest"] == "encode"]
    assert {"ours, 1 thr", "tiktoken, 1 thr"} <= set(encode["agree_on"]["ids"])
    assert "tokenization: median" in done.stdout


@pytest.mark.slow
def test_our_accounts_are_held_to_measurement(tmp_path: Path) -> None:
    done = _bench("accounting", "--quick", "--json", tmp_path / "x.json")
    assert done.returncode == 0, done.stderr
    lines = json.loads((tmp_path / "x.json").read_text())["lines"]
    ours = [line for line in lines if line["calculator"] == "ours"]
    assert {line["error"] for line in ours if not line["figure"].startswith("peak")} == {0.0}
