"""Accounting: the published figures, to the digit."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from accounting import PRESETS, ModelShape, count_parameters, forward_flops, training_flops
from accounting.cli import commands as cli
from accounting.cli import measure_peak as measuring
from accounting.cli.commands import flops as flops_command
from accounting.course_memory import listed_memory
from accounting.optimizer import optimizer_cost
from accounting.parameters import openai_gpt2_parameters
from accounting.time import training_time


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("gpt2-small", 349_630_365_696),
        ("gpt2-medium", 1_033_109_504_000),
        ("gpt2-large", 2_257_754_521_600),
        ("gpt2-xl", 4_513_336_524_800),
        ("gpt2-xl-16k", 149_522_795_724_800),
    ],
)
def test_forward_flops(name: str, total: int) -> None:
    assert forward_flops(PRESETS[name]).total == total


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("gpt2-small", (27.64, 49.75, 22.61)),
        ("gpt2-medium", (29.93, 59.87, 10.20)),
        ("gpt2-large", (29.96, 64.20, 5.84)),
        ("gpt2-xl", (29.44, 66.91, 3.65)),
        ("gpt2-xl-16k", (65.92, 32.32, 1.76)),
    ],
)
def test_shares(name: str, shares: tuple[float, ...]) -> None:
    flops = forward_flops(PRESETS[name])
    parts = (flops.attention, flops.feed_forward, flops.head)
    assert tuple(round(100 * part / flops.total, 2) for part in parts) == shares


def test_one_block_of_xl() -> None:
    flops, layers = forward_flops(PRESETS["gpt2-xl"]), 48
    assert flops.qkv // layers == 15_728_640_000
    assert flops.scores_and_values // layers == 6_710_886_400
    assert flops.output_projection // layers == 5_242_880_000
    assert flops.feed_forward // layers == 62_914_560_000
    assert flops.head == 164_682_137_600


def test_xl_has_its_parameters_and_openais_has_others() -> None:
    assert count_parameters(PRESETS["gpt2-xl"]).total == 2_127_057_600
    xl = openai_gpt2_parameters(vocab_size=50257, context_length=1024, d_model=1600, num_layers=48)
    assert xl == 1_557_611_200


@pytest.mark.parametrize(
    ("name", "d_ff", "total"),
    [
        ("small", 2048, 291_648_307_200),
        ("medium", 2752, 830_172_299_264),
        ("large", 3392, 1_768_530_903_040),
        ("xl", 4288, 3_516_769_894_400),
        ("xl-16k", 4288, 133_577_729_638_400),
    ],
)
def test_forward_flops_of_2026(name: str, d_ff: int, total: int) -> None:
    shape, of_2025 = PRESETS[f"cs336-2026-{name}"], PRESETS[f"gpt2-{name}"]
    assert shape == replace(of_2025, d_ff=d_ff)
    assert shape.d_ff == 64 * round(8 * shape.d_model / 3 / 64)
    assert forward_flops(shape).total == total


def test_xl_of_2026_has_the_courses_figures() -> None:
    xl, long = PRESETS["cs336-2026-xl"], PRESETS["cs336-2026-xl-16k"]
    assert count_parameters(xl).total == 1_640_452_800
    assert 4 * count_parameters(xl).total == 6_561_811_200
    flops, at_16k = forward_flops(xl).total, forward_flops(long).total
    assert (round(flops / 1e12, 3), round(at_16k / 1e12, 1)) == (3.517, 133.6)
    assert round(at_16k / flops) == 38


def test_xl_of_2026_trains_in_the_courses_memory_and_hours() -> None:
    xl = PRESETS["cs336-2026-xl"]
    a, b = listed_memory(xl, year=2026)
    assert (a, b) == (16_373_391_360, 26_247_244_800)
    assert (80 * 10**9 - b) // a == 3
    run = training_time(
        xl, 400_000 * 1024 * 1024, flops_per_second=0.5 * 495e12, convention="counter"
    )
    assert round(run.seconds / 3600) == 4850


def test_adamws_own_flops_are_fourteen_a_parameter() -> None:
    cost = optimizer_cost(PRESETS["cs336-2026-xl"], "adamw")
    assert cost.elementwise_flops - cost.clipping_flops == 14 * 1_640_452_800 == 22_966_339_200


def test_training_flops_of_the_reference_model() -> None:
    shape = ModelShape(
        vocab_size=10_000, context_length=256, d_model=512, num_layers=4, num_heads=16, d_ff=1344
    )
    assert count_parameters(shape).total == 22_696_448
    assert training_flops(shape, 1000) == 1000 * (6 * 17_571_840 + 6 * 4 * 512 * 256)


def test_flops_command_prints_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    flops_command([])
    out = capsys.readouterr().out
    for words in (
        "149,522,795,724,800",
        "8,508,230,400 bytes in float32 = 8.51 GB = 7.92 GiB",
        "65.92 %",
        "1,557,611,200",
        "attention not halved",
    ):
        assert words in out


def test_flops_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    flops_command(["gpt2-small", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["gpt2-small"]["forward_flops"] == 349_630_365_696
    assert "counter" in report["gpt2-small"]["convention"]


def test_flops_command_takes_a_shape(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "--vocab-size 10000 --context-length 256 --d-model 512 --num-layers 4 --num-heads 16"
    flops_command([*sizes.split(), "--d-ff", "1344", "--num-kv-heads", "4", "--json"])
    shape = ModelShape(
        vocab_size=10_000,
        context_length=256,
        d_model=512,
        num_layers=4,
        num_heads=16,
        d_ff=1344,
        num_kv_heads=4,
    )
    report = json.loads(capsys.readouterr().out)
    assert report["custom"]["parameters"] == count_parameters(shape).total


def test_flops_command_ends_quietly_when_its_reader_has_gone() -> None:
    code = "from accounting.cli.commands import flops; flops([])"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpt2-smal"], "did you mean 'gpt2-small'"),
        (["--d-model", "8"], "missing: --vocab-size"),
        (["--tie-embeddings"], "missing: --vocab-size"),
        (["--d-ff", "4288"], "or name a model that they change"),
        (["gpt2-xl", "--d-model", "8"], "num_heads=25 must divide d_model=8"),
        (["gpt2-xl", "--num-kv-heads", "4"], "num_kv_heads=4 must divide num_heads=25"),
        (["gpt2-xl", "--d-ff", "0"], "d_ff is 0"),
        (
            [
                "--vocab-size",
                "10",
                "--context-length",
                "8",
                "--d-model",
                "9",
                "--num-layers",
                "1",
                "--num-heads",
                "2",
                "--d-ff",
                "8",
            ],
            "must divide d_model=9",
        ),
    ],
)
def test_nonsense_exits_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        flops_command(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def _output(capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> str:
    getattr(cli, command)(arguments)
    return capsys.readouterr().out


def test_memory_prints_gpt2_xls_line_twice(capsys: pytest.CaptureFixture[str]) -> None:
    out = _output(capsys, "memory", "gpt2-xl", "--memory-gb", "80", "--json")
    report = json.loads(out)
    title = "a * batch + b, with the activations that CS336 lists in {} (float32, AdamW)"
    assert report[title.format(2025)] == {
        "a, per window": 15_517_753_344,
        "b": 16 * 2_127_057_600,
        "largest batch in 80.00 GB": 2,
    }
    of_2026 = json.loads(_output(capsys, "memory", "cs336-2026-xl", "--json"))
    assert of_2026[title.format(2026)] == {
        "a, per window": 16_373_391_360,
        "b": 26_247_244_800,
        "largest batch in 80.00 GB": 3,
    }
    kept = report["a * batch + b, with all that this project's model keeps"]
    assert kept["largest batch in 80.00 GB"] == 5
    assert report["a checkpoint on disk"]["model.safetensors"] > 4 * 2_127_057_600


def test_memory_explains_every_tensor(capsys: pytest.CaptureFixture[str]) -> None:
    out = _output(capsys, "memory", "tinystories", "--loss", "plain", "--explain")
    for words in ("4 N = 4 * 22,696,448", "loss: shifted logits", "b t v * 4 bytes", "4 * b t f"):
        assert words in out


def test_plan_prints_the_worked_example(capsys: pytest.CaptureFixture[str]) -> None:
    run = "gpt2-xl --steps 400000 --batch-size 1024 --device A100 --dtype float32 --mfu 0.5"
    out = _output(capsys, "plan", *run.split(), "--price", "2")
    assert "6,583.6" in out.split("model convention")[0]
    assert "6,348.6" in out.split("model convention")[1]
    assert "316,0" in out


def test_plan_proposes_by_every_fit(capsys: pytest.CaptureFixture[str]) -> None:
    run = "--hours 0.1 --peak-tflops 0.3 --memory-gb 4 --unique-tokens 1e5"
    out = _output(capsys, "plan", *run.split())
    assert "more than 4 epochs" in out
    assert all(name in out for name in ("training-curves", "isoflop", "parametric"))


def test_inference_and_params_print_their_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert "314,572,800 bytes" in _output(capsys, "inference", "gpt2-xl", "--device", "H200")
    assert "unknown: pass --device" in _output(capsys, "inference", "gpt2-xl")
    assert "2,127,057,600" in _output(capsys, "params")


@pytest.mark.parametrize("command", ["flops", "params", "memory", "inference", "plan"])
def test_sizes_change_a_preset_in_every_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["--steps", "1", "--batch-size", "1", "--peak-tflops", "1"] if command == "plan" else []
    changed = _output(capsys, command, "gpt2-xl", "--d-ff", "4288", *plan)
    of_2026 = _output(capsys, command, "cs336-2026-xl", *plan)
    assert "gpt2-xl with d_ff 4288: " in changed
    assert _figures(changed) == _figures(of_2026)
    assert "gpt2-xl (CS336 2025): " in _output(capsys, command, "gpt2-xl", *plan)


def _figures(text: str) -> list[str]:
    """Return the lines below headings: those alone name the model."""
    return [line for line in text.splitlines() if line.startswith("  ")]


def test_several_sizes_and_switches_change_several_models(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = "--num-layers 3 --num-kv-heads 5 --tie-embeddings --json"
    report = json.loads(_output(capsys, "flops", "gpt2-xl", "cs336-2026-xl", *options.split()))
    changes = {"num_layers": 3, "num_kv_heads": 5, "tie_embeddings": True}
    assert {name: one["parameters"] for name, one in report.items()} == {
        name: count_parameters(replace(PRESETS[name], **changes)).total for name in report
    }


def test_charts_are_svg_with_every_part(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for command, part in (("flops", "scores and values"), ("memory", "optimizer")):
        path = tmp_path / f"{command}.svg"
        _output(capsys, command, "gpt2-small", "--chart", str(path))
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert part in path.read_text()


def test_measure_peak_multiplies(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_SIZES", {"cpu": (64, 128)})
    monkeypatch.setattr(measuring, "_SECONDS_A_SIZE", 0.0)
    report = json.loads(_output(capsys, "measure_peak", "--json"))
    assert report["flops_per_second"] > 0
    assert report["size"] in (64, 128)


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("memory", ["gpt2-xl", "--batch-size", "0"], "batch_size is 0"),
        ("memory", ["no-such-file.toml"], "neither a preset nor a file"),
        ("memory", ["gpt2-xl", "--device", "H2000"], "did you mean 'H200'"),
        ("memory", ["gpt2-xl", "--memory-gb", "-1"], "must be positive"),
        ("plan", [], "pass --hours"),
        ("plan", ["--hours", "2"], "give --device"),
        ("plan", ["--hours", "2", "--device", "T4"], "no bfloat16"),
        ("plan", ["--hours", "2", "--device", "nonesuch"], "known are A100"),
        ("plan", ["gpt2-xl"], "pass --steps and --batch-size"),
        ("plan", ["--hours", "2", "--write", "x.toml"], "trainer costs plan` for that"),
        ("inference", ["gpt2-xl", "--prompt-tokens", "2000"], "num_tokens is 2000"),
        ("measure_peak", ["--device", "tpu"], "tpu"),
    ],
)
def test_mistakes_end_with_one_line_and_2(
    command: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        getattr(cli, command)(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
