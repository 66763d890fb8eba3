"""The whole pipeline, for real: text in, a trained model out, resumable, refusing nonsense.

`test_quickstart_*` run the shipped preset on the interpreter's own source, a few steps; the rest
trains a smaller model on a text written here.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nn_layers import ModelConfig, TransformerLM, cross_entropy
from optim import AdamW
from trainer.checkpoint.manifest import manifest_bytes
from trainer.cli import commands as cli

TINY_FIELDS = {
    "tokenizer.vocab-size": 300,
    "tokenizer.num-workers": 1,
    "model.context-length": 16,
    "model.d-model": 16,
    "model.num-layers": 2,
    "model.num-heads": 2,
    "model.d-ff": 32,
    "schedule.warmup-steps": 2,
    "training.batch-size": 4,
    "training.max-steps": 8,
    "evaluation.every-steps": 4,
    "evaluation.num-windows": 4,
    "evaluation.sample-tokens": 8,
    "checkpoint.every-steps": 3,
    "logging.every-steps": 1,
    "device": "cpu",
}
TINY = [word for name, value in TINY_FIELDS.items() for word in (f"--{name}", str(value))]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call a command of the trainer in an empty directory: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            getattr(cli, command)()
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return call


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """120 short documents of predictable text."""
    path = tmp_path / "corpus.txt"
    documents = [f"line {i}: the cat sat on mat number {i * 7 % 13}.\n" for i in range(120)]
    path.write_text("<|endoftext|>".join(documents), encoding="utf-8")
    return path


def _weights(run_dir: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "checkpoints" / f"step-{step}" / "model.safetensors")


def _rows(run_dir: Path) -> list[dict[str, object]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    timing = ("seconds", "tokens_per_second", "mfu")
    rows = [json.loads(line) for line in lines]
    return [{key: value for key, value in row.items() if key not in timing} for row in rows]


def test_a_run_leaves_everything_it_promises(run: Run, corpus: Path) -> None:
    code, out, err = run("train", "--corpus.train", corpus, *TINY)
    assert code == 0, err
    assert "bits per byte" in out
    assert "bigram" in out
    root = Path("runs/quickstart-001")
    for name in ("config.toml", "data.json", "metrics.jsonl", "summary.json", "samples/step-8.txt"):
        assert (root / name).stat().st_size > 0, name
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        assert (root / "checkpoints/step-8" / name).exists()
    assert (root / "tokenizer" / "vocab.json").exists()
    ElementTree.parse(root / "loss.svg")
    assert not list(root.rglob("*.tmp"))
    steps = [row["step"] for row in _rows(root) if row["kind"] == "train"]
    assert steps == list(range(1, 9))


def test_a_second_run_reuses_the_prepared_data_and_takes_the_next_name(
    run: Run, corpus: Path
) -> None:
    run("train", "--corpus.train", corpus, *TINY)
    code, _, err = run("train", "--corpus.train", corpus, *TINY)
    assert code == 0
    assert "reusing" in err
    first, second = Path("runs/quickstart-001"), Path("runs/quickstart-002")
    for name, weight in _weights(first, 8).items():
        assert torch.equal(weight, _weights(second, 8)[name]), name


RAMPED_MUON = ["--optimizer.name", "muon", "--training.batch-ramp", "128:1"]


@pytest.mark.parametrize(
    ("options", "stop_at", "steps"), [([], 3, (3, 8)), (RAMPED_MUON, 4, (10, 14))]
)
def test_a_resumed_run_equals_an_uninterrupted_one_bitwise(
    run: Run, corpus: Path, options: list[str], stop_at: int, steps: tuple[int, int]
) -> None:
    fixed = [*TINY, "--schedule.total-steps", "8", "--training.micro-batch-size", "2", *options]
    run("train", "--corpus.train", corpus, *fixed, "--run-dir", "whole")
    code, _, _ = run(
        "train",
        "--corpus.train",
        corpus,
        *fixed,
        "--run-dir",
        "cut",
        "--training.max-steps",
        stop_at,
    )
    assert code == 0
    code, _, err = run("train", "--resume", "cut", "--training.max-steps", 8)
    assert code == 0, err
    assert f"resuming from step {steps[0]}" in err
    for name, weight in _weights(Path("whole"), steps[1]).items():
        assert torch.equal(weight, _weights(Path("cut"), steps[1])[name]), name
    train_rows = [
        [row for row in _rows(Path(name)) if row["kind"] == "train"] for name in ("whole", "cut")
    ]
    assert train_rows[0] == train_rows[1]


def test_a_finished_run_says_so(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY)
    code, _, err = run("train", "--resume", "auto")
    assert code == 0
    assert "is finished: 8 steps" in err


def test_resume_without_a_valid_checkpoint_starts_at_step_0(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    for path in Path("x/checkpoints").rglob("model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    code, _, err = run("train", "--resume", "x")
    assert code == 0
    assert "skipped" in err
    assert "starting at step 0" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_resumable_checkpoint(
    run: Run, corpus: Path, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ["--corpus.train", str(corpus), *TINY, "--training.max-steps", "1000000"]
    code = "from trainer.cli.commands import train; train()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--run-dir", "cut"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for(lambda: (tmp_path / "cut/metrics.jsonl").exists(), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "train --resume cut" in err
    assert "Traceback" not in err
    steps = [int(path.name.removeprefix("step-")) for path in Path("cut/checkpoints").iterdir()]
    code, _, err = run("train", "--resume", "cut", "--training.max-steps", max(steps) + 2)
    assert code == 0
    assert f"resuming from step {max(steps):,}" in err


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if condition():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    raise AssertionError("the run wrote no metrics within a minute")


def test_generate_streams_the_same_text_for_the_same_seed(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    options = ["x", "--prompt", "the cat", "--max-tokens", 40, "--seed", 3]
    code, first, err = run("generate", *options)
    assert code == 0, err
    assert first.startswith("the cat")
    assert run("generate", *options)[1] == first
    greedy = [*options, "--temperature", 0]
    assert run("generate", *greedy)[1] == run("generate", *greedy, "--no-cache")[1]


def test_what_generate_notes_does_not_interrupt_the_text(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    command = [
        "import sys; from trainer.cli.commands import generate; sys.stderr = sys.stdout; generate()"
    ]
    command += ["x", "--prompt", "the cat " * 20, "--max-tokens", "40", "--temperature", "5"]
    process = subprocess.run([sys.executable, "-c", *command], capture_output=True, check=True)
    first, *_, last, end = process.stdout.decode().split("\n")
    assert "only its tail is used" in first
    assert last == "the context of 16 tokens is full: continuing from the last 8"
    assert end == ""


def test_a_sample_is_printed_line_by_line_as_it_is(
    run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    prompt = "    the cat sat on a mat that was as long as this line is wide"
    code, out, _ = run(
        "train", "--corpus.train", corpus, *TINY, "--evaluation.sample-prompt", prompt
    )
    assert code == 0
    assert f"\n{prompt}" in out


def test_a_profile_is_a_trace_and_a_table(run: Run, corpus: Path) -> None:
    code, _, err = run(
        "train", "--corpus.train", corpus, *TINY, "--profile", "--evaluation.baselines", "False"
    )
    assert code == 0, err
    folder = next(Path("runs").iterdir()) / "profile"
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]
    rows = (folder / "table.txt").read_text().splitlines()
    assert [row[:18].strip() for row in rows[1:]] == [
        *("matrix products", "update", "everything else", "step")
    ]
    assert all(float(row.split()[-3]) > 0 for row in (rows[1], rows[2], rows[4]))
    summary = json.loads((folder.parent / "summary.json").read_text())
    assert set(summary["loop_costs"]) == {"evaluation", "checkpoint", "logging", "data"}
    assert all(0 < share < 1 for share in summary["loop_costs"].values())


def test_a_profile_of_too_few_steps_is_refused(run: Run, corpus: Path) -> None:
    arguments = [*TINY, "--training.max-steps", "6", "--profile"]
    code, _, err = run("train", "--corpus.train", corpus, *arguments)
    assert code == 2
    assert "--profile records steps 5 to 7 of a sitting, but 6 are left" in err


def test_evaluate_agrees_with_the_summary(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    code, out, err = run("evaluate", "x", "--json", "--batch-size", 3)
    assert code == 0, err
    report = json.loads(out)
    summary = json.loads(Path("x/summary.json").read_text())
    assert report["nats_per_token"] == pytest.approx(summary["validation_loss"], rel=1e-6)
    assert report["tokens"] == summary["scored_tokens"]
    bits = report["nats_per_token"] * report["tokens"] / np.log(2) / report["bytes"]
    assert report["bits_per_byte"] == pytest.approx(bits)


def test_print_config_shows_what_would_run_and_runs_nothing(run: Run) -> None:
    code, out, _ = run("train", "--print-config", "--training.max-steps", 77)
    assert code == 0
    assert "max_steps = 77" in out
    assert run("prepare", "--print-config", "--training.max-steps", 77)[1] == out
    assert not Path("runs").exists()
    assert not Path("data").exists()


def _bad_files(tmp_path: Path) -> Iterator[tuple[list[object], str]]:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "latin.txt").write_bytes(b"text " * 10 + b"caf\xe9")
    (tmp_path / "short.txt").write_text("too short")
    yield ["--corpus.train", "missing.txt"], "missing.txt"
    yield ["--corpus.train", "empty.txt"], "empty.txt"
    yield ["--corpus.train", "binary.txt"], "binary.txt"
    yield ["--corpus.train", "latin.txt"], "53"
    yield ["--corpus.train", "short.txt"], "hold out"
    yield ["--corpus.train", "."], "folder"


def test_unusable_text_ends_with_one_line_and_code_2(run: Run, tmp_path: Path) -> None:
    for arguments, word in _bad_files(tmp_path):
        code, _, err = run("train", *TINY, *arguments)
        assert code == 2, (arguments, err)
        message = err.splitlines()[-1]
        assert message.startswith("error: ")
        assert word in message, (arguments, message)
        assert "Traceback" not in err
        assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tokenizer.vocab-size", 256], "vocab-size"),
        (["--model.num-heads", 3], "heads"),
        (["--model.context-length", 5000], "context-length"),
        (["--run-dir", "."], "exists"),
        (["--resume", "nowhere"], "not a run directory"),
        (["--device", "cuda:99"], "available: auto, cpu"),
        (["--training.batch-size", -1], "batch-size"),
        (["--seed", -1], "seed"),
    ],
)
def test_nonsense_ends_with_one_line_and_code_2(
    run: Run, corpus: Path, arguments: list[object], words: str
) -> None:
    code, _, err = run("train", "--corpus.train", corpus, *TINY, *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_nonsense_for_generate_ends_with_code_2(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    for option, value in [
        ("temperature", -1),
        ("top-p", 0),
        ("top-p", 1.5),
        ("top-k", 0),
        ("max-tokens", 0),
    ]:
        code, out, err = run("generate", "x", f"--{option}", value)
        assert code == 2, option
        assert out == ""
        assert str(value) in err, err
    assert run("generate", "nowhere")[0] == 2


def test_a_checkpoint_of_another_model_is_refused(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    config = Path("x/config.toml")
    config.write_text(config.read_text().replace("d_ff = 32", "d_ff = 48"))
    code, _, err = run("generate", "x")
    assert code == 2
    assert "checkpoint of another model: d_ff was 32, is 48" in err


def test_changed_text_is_not_resumed(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    corpus.write_text(corpus.read_text() + "more\n")
    code, _, err = run("train", "--resume", "x", "--training.max-steps", 20)
    assert code == 2
    assert "changed since x began" in err


def test_a_loss_that_diverges_is_an_error_that_keeps_the_checkpoints(
    run: Run, corpus: Path
) -> None:
    huge = ["--optimizer.learning-rate", "1e30", "--optimizer.max-grad-norm", "None"]
    code, _, err = run("train", "--corpus.train", corpus, *TINY, *huge, "--run-dir", "x")
    assert code == 2
    assert "training diverged" in err


def test_a_finished_run_needs_neither_its_text_nor_its_tokens(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    corpus.unlink()
    shutil.rmtree("data")
    code, out, err = run("train", "--resume", "x")
    assert code == 0
    assert "is finished: 8 steps" in err
    assert "bits per byte" in out


@pytest.mark.parametrize("content", ["{}", "no JSON"])
def test_a_damaged_summary_is_written_again(run: Run, corpus: Path, content: str) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    Path("x/summary.json").write_text(content)
    code, _, err = run("train", "--resume", "x")
    assert code == 0, err
    assert "writing the report again" in err
    assert json.loads(Path("x/summary.json").read_text())["step"] == 8


def test_a_damaged_copy_of_the_tokenizer_is_refused_or_mended(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    merges = Path("x/tokenizer/merges.txt")
    merges.write_text("\n".join(merges.read_text().splitlines()[:-1]) + "\n")
    code, _, err = run("generate", "x")
    assert code == 2
    assert "merges were read: part of it is missing" in err and "; copy " in err
    code, _, err = run("train", "--resume", "x", "--training.max-steps", 9)
    assert code == 0
    assert "is damaged and is copied again" in err
    assert run("generate", "x", "--max-tokens", 3)[0] == 0


@pytest.mark.parametrize("state", [5, {}, {"step": 8, "tokens": "x", "seconds": 1.0}])
def test_a_checkpoint_with_an_impossible_state_is_refused(
    run: Run, corpus: Path, state: object
) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    path = Path("x/checkpoints/step-8/state.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": state}))
    names = [other.name for other in path.parent.iterdir() if other.name != "manifest.json"]
    files = {name: [path.with_name(name).read_bytes()] for name in names}
    path.with_name("manifest.json").write_bytes(manifest_bytes(files))
    code, _, err = run("train", "--resume", "x", "--training.max-steps", 9)
    assert code == 2
    assert "remove x/checkpoints/step-8 to resume from the checkpoint before" in err


def test_a_run_without_samples_ends_well(run: Run, corpus: Path) -> None:
    code, out, err = run(
        "train", "--corpus.train", corpus, *TINY, "--evaluation.sample-tokens", 0, "--run-dir", "x"
    )
    assert code == 0, err
    assert "sample" not in out
    assert not Path("x/samples").exists()


def test_validation_without_text_is_refused_before_training(run: Run, corpus: Path) -> None:
    Path("v.txt").write_text("<|endoftext|>" * 40)
    code, _, err = run("train", "--corpus.train", corpus, "--corpus.validation", "v.txt", *TINY)
    assert code == 2
    assert "hold no text" in err
    assert not Path("runs").exists()


def test_a_model_of_the_same_shapes_but_other_heads_is_refused(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    config = Path("x/config.toml")
    config.write_text(config.read_text().replace("num_heads = 2", "num_heads = 4"))
    for command in (["generate", "x"], ["train", "--resume", "x", "--training.max-steps", 9]):
        code, _, err = run(*command)
        assert code == 2
        assert "num_heads was 2, is 4" in err


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused_by_generate(run: Run, seed: int) -> None:
    code, _, err = run("generate", "x", "--seed", seed)
    assert code == 2
    assert "must be in [0, 2^63)" in err


def test_a_reader_that_leaves_is_no_error(run: Run, corpus: Path) -> None:
    run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    code = "from trainer.cli.commands import generate; generate()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "x", "--max-tokens", "20000", "--temperature", "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.read(1)
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=60) in (0, 128 + signal.SIGPIPE)
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_outside_of_training_says_how_to_go_on(
    run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr("trainer.run.summarize", lambda *_: os.kill(os.getpid(), number))
    code, _, err = run("train", "--corpus.train", corpus, *TINY, "--run-dir", "x")
    assert code == 128 + number
    root = shlex.quote(str(Path(__file__).parents[1]))
    way_on = f"uv run --package trainer --project {root} train --resume x"
    assert f"resume with: {way_on}\n" in err
    monkeypatch.undo()


def test_one_batch_can_be_learned_by_heart() -> None:
    torch.manual_seed(0)
    config = ModelConfig(64, 16, 32, 2, 4, 64)
    model = TransformerLM(config)
    ids = torch.randint(64, (4, 17))
    optimizer = AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(150):
        optimizer.zero_grad()
        loss = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_quickstart_trains_on_the_interpreters_own_source(tmp_path: Path) -> None:
    arguments = "--training.max-steps 20 --training.batch-size 2 --evaluation.num-windows 4"
    arguments += " --evaluation.final-tokens 4000 --evaluation.sample-tokens 16 --device cpu"
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            "from trainer.cli.commands import train; train()",
            *arguments.split(),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "left out" in process.stdout + process.stderr
    for predictor in ("this model", "xz -9", "unigram", "bigram"):
        assert predictor in process.stdout
    assert "\nclass Parser:\n    def __init__(self" in process.stdout
    summary = json.loads((tmp_path / "runs/quickstart-001/summary.json").read_text())
    assert summary["validation_loss"] < np.log(2048)
    token_file = next((tmp_path / "data").glob("*/tokens/train.npy"))
    assert np.load(token_file, mmap_mode="r").dtype == np.uint16
