"""Accounting: the published figures, to the digit."""

import json
import os
import subprocess
import sys

import pytest

from accounting import PRESETS, ModelShape, count_parameters, forward_flops, training_flops
from accounting.cli import flops as flops_command
from accounting.parameters import openai_gpt2_parameters


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
    code = "from accounting.cli import flops; flops([])"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpt2-smal"], "did you mean 'gpt2-small'"),
        (["--d-model", "8"], "missing: --vocab-size"),
        (["--tie-embeddings"], "missing: --vocab-size"),
        (["gpt2-xl", "--d-model", "8"], "not both"),
        (["gpt2-xl", "--num-kv-heads", "5"], "gpt2-xl) or a shape (--num-kv-heads), not both"),
        (["gpt2-xl", "--feed-forward", "silu"], "not both"),
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
