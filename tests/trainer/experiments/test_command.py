"""`sweep` and `ablate` for real: tiny models, killed and asked again, told apart from nonsense."""

import itertools
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.cli import commands as cli
from trainer.evaluation.loss_rise import find_rise
from trainer.training.interrupts import StopRequest

FIELDS = {
    "tokenizer.vocab-size": 300,
    "tokenizer.num-workers": 1,
    "model.context-length": 16,
    "model.d-model": 16,
    "model.num-layers": 1,
    "model.num-heads": 2,
    "model.d-ff": 32,
    "schedule.warmup-steps": 2,
    "training.batch-size": 4,
    "training.max-steps": 4,
    "evaluation.every-steps": 2,
    "evaluation.num-windows": 4,
    "evaluation.sample-tokens": 0,
    "evaluation.baselines": False,
    "checkpoint.every-steps": 2,
    "device": "cpu",
}
OPTUNA = ["sweep", "--over", "optimizer.learning-rate=1e-3..1:log", "--engine", "optuna"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    documents = [f"line {i}: the cat sat on mat number {i * 7 % 13}.\n" for i in range(120)]
    (tmp_path / "corpus.txt").write_text("<|endoftext|>".join(documents), encoding="utf-8")

    def call(command: str, *arguments: object) -> tuple[int, str, str]:
        given = [*map(str, arguments)]
        words = [command, *given, "--corpus.train", "corpus.txt"]
        for name, value in FIELDS.items():
            words += [] if f"--{name}" in given else [f"--{name}", str(value)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            getattr(cli, command)()
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return call


def test_sweep_trains_compares_and_goes_on(run: Run) -> None:
    over = ["--over", "optimizer.learning-rate=1e-3,1e30"]
    code, out, err = run("sweep", *over)
    assert code == 0, err
    assert "learning-rate=1e+30" in out and "diverged" in out
    folder = Path("studies/quickstart-optimizer.learning-rate")
    assert f"study: {folder}" in out
    outcome = json.loads((folder / "trials" / "learning-rate=0.001.json").read_text())
    assert outcome["status"] == "finished" and outcome["step"] == 4
    before = (folder / "trials" / "learning-rate=0.001" / "metrics.jsonl").stat().st_mtime_ns
    code, again, err = run("sweep", *over)
    assert (code, "trial" in err) == (0, False)
    after = (folder / "trials" / "learning-rate=0.001" / "metrics.jsonl").stat().st_mtime_ns
    assert before == after and again == out


def test_the_noise_of_small_batches_is_no_divergence() -> None:
    draw = random.Random(0)
    noisy = [3 + 3 / (1 + step / 50) + draw.gauss(0, 0.6) for step in range(2000)]
    assert noisy[-1] > 1.2 * min(noisy)
    assert all(find_rise(noisy[:end]) is None for end in range(1000, 2000, 7))
    assert find_rise([*noisy, *(loss + 1 for loss in noisy[-50:])]) is not None


def test_a_trial_that_ends_finite_but_undone_has_diverged(run: Run) -> None:
    over = ["--over", "optimizer.learning-rate=1e-2,10"]
    long = ["--training.max-steps", 40, "--evaluation.every-steps", 20]
    long += ["--schedule.warmup-steps", 40]  # the rate rises to the end, where it is worst
    code, out, err = run("sweep", *over, *long)
    assert code == 0, err
    trials = Path("studies/quickstart-optimizer.learning-rate/trials")
    outcome = json.loads((trials / "learning-rate=10.json").read_text())
    assert outcome["status"] == "diverged" and outcome["validation_loss"] > 0
    assert outcome["reason"].startswith("the training loss fell to")
    assert json.loads((trials / "learning-rate=0.01.json").read_text())["status"] == "finished"
    assert "learning-rate=10 diverged: the training loss fell to" in err
    assert "diverged" in out


def test_max_hours_ends_a_trial_resumably_and_says_what_is_left(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = ["--over", "optimizer.learning-rate=1e-3,2e-3", "--checkpoint.every-steps", 9]
    asked = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "is_late", property(lambda _: next(asked) > 6))
        code, out, err = run("sweep", *over, "--max-hours", 1)
    assert (code, out.count("not run")) == (0, 2), err
    assert "--max-hours 1 reached after 0 of 2 trials, saved; run the same command again" in err
    trials = Path("studies/quickstart-optimizer.learning-rate/trials")
    [checkpoint] = (trials / "learning-rate=0.001" / "checkpoints").iterdir()
    step = int(checkpoint.name.rpartition("-")[2])
    assert 0 < step < 4
    assert not (trials / "learning-rate=0.002").exists()
    code, out, err = run("sweep", *over, "--max-hours", 1)
    assert f"resuming from step {step}" in err and "not run" not in out


def test_what_cannot_fit_is_a_result_and_ends_the_list(run: Run) -> None:
    over = ["--over", "training.batch-size=1,2,...", "--evaluation.num-windows", 1]
    over += ["--evaluation.batch-size", 1, "--training.max-steps", 4, "--memory-gb", 0.0005]
    code, out, err = run("sweep", *over)
    assert code == 0, err
    assert "training.batch-size ends at 2: at 4, " in err and "the predicted peak memory is" in err
    trials = Path("studies/quickstart-training.batch-size/trials")
    assert sorted(path.stem for path in trials.glob("*.json")) == ["batch-size=1", "batch-size=2"]
    code, out, err = run("sweep", "--over", "model.d-model=16,512", "--memory-gb", 0.005)
    assert (code, "too-large" in out) == (0, True), err
    outcome = Path("studies/quickstart-model.d-model/trials/d-model=512.json").read_text()
    assert '"too-large"' in outcome and "but 5.0 MB are available" in outcome


def test_the_rate_is_tuned_anew_for_each_batch_size(run: Run) -> None:
    tuned = ["--over", "training.batch-size=2,4", "--retune", "optimizer.learning-rate=1e-3,1e30"]
    code, out, err = run("sweep", *tuned, "--widen", 0, "--seeds", 2)
    assert code == 0, err
    for size in (2, 4):
        best = f"At batch-size={size}, the best learning-rate is 0.001"
        assert f"{best}, at the edge of the values tried: " in out
    trials = Path("studies/quickstart-training.batch-size-optimizer.learning-rate/trials")
    names = sorted(path.stem.partition(",")[2] for path in trials.glob("batch-size=2,*.json"))
    assert names == [
        "learning-rate=0.001,seed=0",
        "learning-rate=0.001,seed=1",
        "learning-rate=1e+30,seed=0",
    ]


def test_optuna_trains_stops_and_goes_on_from_the_run_directory(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["--over", "optimizer.learning-rate=1e-4..1e-1:log", "--engine", "optuna"]
    calls = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "is_late", property(lambda _: next(calls) > 6))
        code, _, err = run("sweep", *asked, "--trials", 2, "--max-hours", 1)
    assert code == 0 and "reached after 0 of 2 trials" in err
    code, out, err = run("sweep", *asked, "--trials", 2)
    assert code == 0 and "resuming from step" in err
    assert out.count("finished") == 2 and "report.html" in out
    code, out, err = run("sweep", *asked, "--trials", 2)
    assert code == 0 and "trial" not in err
    study = ["--study", "studies/quickstart-optimizer.learning-rate-optuna"]
    code, _, err = run("sweep", "--over", "optimizer.learning-rate=1e-4,1e-3", *study)
    assert code == 2 and "engine = optuna, not grid" in err
    code, _, err = run("sweep", "tinystories", *asked, "--trials", 2, *study)
    assert code == 2 and "another study (preset" in err and err.count("\n") == 1


def test_without_optuna_the_engine_says_how_to_get_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "trainer.experiments.optuna_engine", raising=False)
    asked = ["--over", "optimizer.learning-rate=1e-4..1e-1:log", "--engine", "optuna"]
    code, _, err = run("sweep", *asked, "--trials", 2)
    assert code == 2 and "uv sync --package trainer --extra optuna" in err
    assert not Path("studies").exists()


def test_ablate_runs_the_baseline_and_its_variants(run: Run) -> None:
    code, out, err = run("ablate", "--only", "nope", "--seeds", 1)
    assert code == 0, err
    assert "baseline" in out and "nope" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sweep"], "needs --over"),
        (["sweep", "--over", "optimizer.lr=1"], "unknown field 'optimizer.lr'"),
        (["sweep", "--over", "training.batch-size=,"], "empty value"),
        (["sweep", "--over", "seed=1,2", "--seeds", "0"], "--seeds is 0"),
        (["sweep", "--over", "seed=1,2", "--max-hours", "0"], "--max-hours is 0"),
        (["sweep", "--over", "seed=1,2", "--max-hours", "nan"], "--max-hours is nan"),
        (["sweep", "--over", "seed=1,2", "--memory-gb", "-1"], "--memory-gb is -1"),
        (["sweep", "--over", "seed=1,2,..."], "seed=1,2,... has no end"),
        (["sweep", "--over", "seed=1,2", "--retune", "seed=1,2"], "--retune seed is swept too"),
        (["sweep", "--over", "seed=1,2", "--retune", "x"], "--retune 'x' names no values"),
        (["sweep", "--over", "seed=1,2", "--retune", "optimizer.lr=1,2"], "unknown field"),
        (
            ["sweep", "--over", "seed=1,2", "--retune", "optimizer.adamw.eps=1,2", "--widen", "-1"],
            "--wid",
        ),
        (["sweep", "--over", "optimizer.learning-rate=1..2:log"], "is for --engine optuna"),
        (["sweep", "--over", "seed=1,2", "--trials", "3"], "are for --engine optuna"),
        (["sweep", "--over", "seed=1,2", "--engine", "optuna"], "needs --trials N"),
        (["sweep", "--engine", "optuna", "--trials", "3"], "needs --over"),
        ([*OPTUNA, "--trials", "0"], "needs --trials N, at least 1; given 0"),
        ([*OPTUNA, "--trials", "3", "--storage", "x.db"], "must be journal or sqlite:///FILE"),
        ([*OPTUNA, "--trials", "3", "--seeds", "3"], "--retune and --seeds are the grid's"),
        (["sweep", "--over", "seed=1,2", "--engine", "ray"], "invalid choice: 'ray'"),
        (["sweep", "--over", "seed=1,2", "--run-dir", "x"], "--run-dir"),
        (["sweep", "--over", "seed=1,2", "--optimizer.lr", "1"], "unknown option --optimizer.lr"),
        (["ablate", "--only", "everything"], "unknown ablation 'everything'"),
    ],
)
def test_nonsense_ends_with_one_line_and_code_2(run: Run, arguments: list[str], named: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert named in err and "Traceback" not in err
    assert not Path("studies").exists()
