"""The subject `training`: ways, rows, and contestants that match their descriptions."""

import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.cli import main
from bench.contestants.models import huggingface, nanogpt
from bench.contestants.models.recipe import PRESET, VOCAB_SIZE
from bench.measurement.harness import Entry, Result, Sample, run_contest
from bench.training import subject as training
from bench.training.contests import agreement, generation, memory, speed
from bench.training.contests.setting import ModelSetting, Way
from bench.training.contests.ways import find_ways
from nn_layers import TransformerLM
from trainer.config.presets import load_preset

SETTING = ModelSetting(
    tokens=Path("tokens.npy"),
    cache_dir=Path("cache"),
    device="cpu",
    num_threads=1,
    batch_size=32,
    num_steps=2,
    warm_steps=1,
)
WAYS = dict.fromkeys(
    ("models.ours", "models.nanogpt", "models.huggingface"),
    Way(micro_batch_size=32, compile="off"),
)


def _run(metrics: Mapping[str, Mapping[str, float]], peak_bytes: Mapping[str, int] | None = None):
    """Pretend to run: each contestant measures the given metrics."""

    def run(entries: Sequence[Entry]) -> dict[str, Result]:
        def sample(order: object) -> Sample:
            name = order.contestant.removeprefix("models.")
            return Sample(metrics=metrics[name], peak_bytes=(peak_bytes or {}).get(name))

        return run_contest(entries, num_rounds=1, rng=random.Random(0), run=sample)

    return run


def _trained(seconds: float) -> dict[str, float]:
    return {"seconds_per_token": seconds, "flops_per_token": 100.0, "compile": 0.0}


def test_the_fastest_way_of_each_contestant_is_found() -> None:
    def run(entries: Sequence[Entry]) -> dict[str, Result]:
        def sample(order: object) -> Sample:
            size, mode = order.arguments["micro_batch_size"], order.arguments["compile"]
            best = {"models.ours": 16, "models.nanogpt": 4, "models.huggingface": 32}
            seconds = 1 + abs(size - best[order.contestant])
            return Sample(metrics=_trained(seconds + (5 if mode == "default" else 0)))

        return run_contest(entries, num_rounds=1, rng=random.Random(0), run=sample)

    assert find_ways(SETTING, "float32", run) == {
        "models.ours": Way(micro_batch_size=16, compile="on"),
        "models.nanogpt": Way(micro_batch_size=4, compile="off"),
        "models.huggingface": Way(micro_batch_size=32, compile="off"),
    }


def test_a_way_that_is_fast_only_once_is_not_taken() -> None:
    lucky = (4, "on")
    seen = set()

    def run(entries: Sequence[Entry]) -> dict[str, Result]:
        def sample(order: object) -> Sample:
            way = order.arguments["micro_batch_size"], order.arguments["compile"]
            seconds = 0.5 if way == lucky and way not in seen else 1 + abs(way[0] - 8)
            seen.add(way)
            return Sample(metrics=_trained(seconds))

        return run_contest(entries, num_rounds=1, rng=random.Random(0), run=sample)

    ways = find_ways(SETTING, "float32", run, ["models.ours"])
    assert lucky in seen
    assert ways == {"models.ours": Way(micro_batch_size=8, compile="on")}


def test_ours_is_set_against_the_best_baseline_and_the_peak() -> None:
    metrics = {"ours": _trained(1.0), "nanogpt": _trained(3.0), "huggingface": _trained(2.0)}
    results = _run({**metrics, "matmul": {"flops_per_second": 125.0}})(
        speed.entries(SETTING, "bfloat16", WAYS)
    )
    ratio, share = speed.rows("train-bfloat16", results)
    assert (ratio.peer, ratio.value, ratio.verdict) == ("HF Llama", 2.0, "aim")
    assert (share.value, share.verdict) == (0.8, "aim")


def test_memory_is_compared_with_the_whole_batch_at_once() -> None:
    entries = memory.entries(
        SETTING, "bfloat16", {k: replace(w, micro_batch_size=4) for k, w in WAYS.items()}
    )
    assert {entry.order.arguments["micro_batch_size"] for entry in entries} == {32}
    metrics = {"ours": _trained(1.0), "huggingface": _trained(1.0)}
    results = _run(metrics, {"ours": 6 * 10**8, "huggingface": 10**9})(entries)
    (row,) = memory.rows(results)
    assert (row.value, row.verdict) == (0.6, "must")


def test_int8_is_set_against_hf_in_bf16() -> None:
    def run(order: object) -> Sample:
        ours = order.contestant == "models.ours"
        widths = {"int8": 1.0, "bfloat16": 2.0, "float32": 4.0}
        return Sample(
            metrics={"seconds_per_token": widths[order.arguments["weights"]] * (1 if ours else 3)}
        )

    entries = generation.entries(SETTING, 8)
    results = run_contest(entries, num_rounds=1, rng=random.Random(0), run=run)
    found = {row.key: row.value for row in generation.rows(results)}
    assert found == {"generate-bfloat16": 3.0, "generate-float32": 3.0, "generate-int8": 6.0}


@pytest.mark.parametrize(
    ("change", "is_problem"),
    [
        ({}, False),
        ({"loss_difference": 1e-3}, True),
        ({"norm_difference": 1e-2}, True),
        ({"parameter_difference": 1.0}, True),
    ],
)
def test_a_difference_from_hf_is_a_problem(change: dict[str, float], is_problem: bool) -> None:
    same = {"loss": 9.2, "loss_difference": 0.0, "norm_difference": 0.0}
    same |= {"num_parameters": 1e6, "parameter_difference": 0.0}
    (result,) = _run({"ours": same | change})(agreement.entries(SETTING)).values()
    assert bool(agreement.judge(result)[1]) == is_problem


@pytest.mark.slow  # importing transformers takes most of it
def test_hf_with_our_weights_is_our_model() -> None:
    pytest.importorskip("transformers")
    section = replace(
        load_preset(PRESET).model, context_length=16, d_model=16, num_layers=2, num_heads=4, d_ff=32
    )
    torch.manual_seed(0)
    ours = TransformerLM(section.build(vocab_size=50))
    theirs = huggingface.build(section, 50)
    theirs.load_state_dict(huggingface.carry_over(ours.state_dict(), section))
    ids = torch.randint(50, (3, 16))
    torch.testing.assert_close(theirs(input_ids=ids).logits, ours(ids), atol=1e-5, rtol=1e-5)
    assert theirs.num_parameters() == ours.num_parameters


def test_the_gpt_has_the_published_size_and_looks_back_only() -> None:
    section = load_preset(PRESET).model
    with torch.device("meta"):
        model = nanogpt.GPT(section, VOCAB_SIZE)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 17.8
    small = replace(section, d_model=32, num_heads=2, num_layers=2, context_length=8)
    torch.manual_seed(0)
    model = nanogpt.GPT(small, 50)
    ids = torch.randint(50, (1, 8))
    changed = ids.clone()
    changed[0, 5] = (ids[0, 5] + 1) % 50
    differs = (model(ids) - model(changed)).abs().amax(-1)[0] > 1e-6
    assert differs.tolist() == [False] * 5 + [True] * 3


def test_without_a_gpu_its_rows_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "_token_file", lambda cache_dir: (Path("tokens.npy"), "made up"))
    monkeypatch.setattr(training, "_has_cuda", lambda: False)
    monkeypatch.setattr(training, "fetch_extras", lambda contestants: None)
    output = tmp_path / "x.json"
    words = ["bench", "training", "--only", "cuda,end-to-end", "--json", str(output)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="0"):
        main()
    rows = json.loads(output.read_text())["rows"]
    assert {row["key"]: row["note"] for row in rows} == dict.fromkeys(
        ("cuda", "cuda-peak", "cuda-large", "cuda-end-to-end"), "unmeasured: no CUDA device here"
    )
    assert "unmeasured: no CUDA device here" in capsys.readouterr().out


@pytest.mark.slow
def test_a_whole_quick_run(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    code = "from bench.cli import main; main()"
    words = ["training", "--quick", "--patience", "0", "--json", str(tmp_path / "x.json")]
    words += ["--cache-dir", str(tmp_path), "--svg", str(tmp_path / "x.svg"), "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["problems"] == []
    measured = {row["key"] for row in content["rows"] if row["value"] is not None}
    assert {"train-bfloat16", "train-bfloat16-peak", "train-float32", "model-memory"} <= measured


@pytest.mark.parametrize("content", [b"", b"\xf8\x00", b"[]", b'{"settings": {}}'])
def test_a_file_of_ways_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ways.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ways\.json was not written by --json"):
        training._read_ways(path, "bfloat16")
