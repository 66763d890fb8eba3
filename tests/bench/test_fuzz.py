"""The fuzzer: it finds what it is for, prints how to reproduce it, draws the same from a seed."""

import os
import pickle
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from bench.fuzzing.campaign import FindingError, Tally, batch_rng, read_log, run_campaign
from bench.fuzzing.loaders import Loader
from bench.fuzzing.mutations import (
    mutate_bytes,
    mutate_json,
    mutate_lines,
    mutate_npy,
    mutate_one,
    mutate_safetensors,
    mutate_toml,
)
from bench.fuzzing.targets import TARGETS, choose_targets
from bench.fuzzing.texts import draw_bytes, draw_texts


class Echo:
    """A target that counts, and fails at one seed."""

    def __init__(self, fails_at: int) -> None:
        self.fails_at, self.num_batches = fails_at, 0

    def run(self, rng: random.Random) -> int:
        self.num_batches += 1
        if self.num_batches - 1 == self.fails_at:
            raise FindingError("it breaks", {"input.bin": b"\xff"})
        return 7


def run(target: Echo, tmp_path: Path, *, first_seed: int = 0) -> tuple[Tally, list[str]]:
    said: list[str] = []
    tally = Tally(target="echo", first_seed=first_seed)
    run_campaign(
        {"echo": target},
        {"echo": tally},
        is_over=lambda tally: tally.num_batches >= 5,
        keep_in=tmp_path,
        say=said.append,
    )
    return tally, said


def test_a_finding_is_counted_told_and_kept(tmp_path: Path) -> None:
    tally, said = run(Echo(fails_at=3), tmp_path, first_seed=10)
    assert (tally.num_batches, tally.num_inputs) == (5, 28)
    assert tally.findings == ["seed 13: it breaks"]
    assert (tmp_path / "echo-13" / "input.bin").read_bytes() == b"\xff"
    assert said[-1].endswith("bench fuzz --only echo --seed 13 --batches 1")


def test_without_a_finding_nothing_is_kept(tmp_path: Path) -> None:
    tally, said = run(Echo(fails_at=-1), tmp_path)
    assert (tally.num_inputs, tally.findings, said, list(tmp_path.iterdir())) == (35, [], [], [])


def bench_fuzz(*arguments: str | Path) -> int:
    """Run the command; return its exit status."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["bench", "fuzz", *map(str, arguments)])
        main()
    return ended.value.code


def test_the_command_goes_on_where_its_log_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        assert bench_fuzz("--only", "tiktoken", "--batches", 1, "--log", tmp_path / "log") == 0
        assert read_log(tmp_path / "log")[seed].first_seed == seed
    assert capsys.readouterr().out.split()[-1] == "100"  # inputs in all


def test_the_command_fails_where_there_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tokenizer.formats.b64decode", lambda *rest, **options: {}["x"])
    monkeypatch.setattr("bench.fuzzing.loaders.Loader._warm_up", lambda self: None)
    options = ("--only", "tiktoken", "--batches", 1, "--keep", tmp_path)
    assert bench_fuzz(*options, "--seed", 3) == 1
    assert "FINDING: tiktoken seed 3: KeyError: 'x'" in capsys.readouterr().err
    assert (tmp_path / "tiktoken-3" / "a.tiktoken").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "tokens"), "no target 'tokens'; there are encode, "),
        (("--minutes", "0"), "--minutes is 0.0, but must be positive"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_fuzz(*arguments) == 2
    assert message in capsys.readouterr().err


def test_all_targets_are_chosen_where_the_trainer_is_there() -> None:
    assert choose_targets(None) == list(TARGETS)


VALID = {
    mutate_bytes: b"some bytes",
    mutate_json: b'{"a": [1, {"b": "c"}], "d": null}',
    mutate_lines: b"one 1\ntwo 2\n",
    mutate_toml: b'a = 1\n[b]\nc = "d"\n',
    mutate_safetensors: (48).to_bytes(8, "little")
    + b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'[:48]
    + b"ab",
    mutate_npy: b"\x93NUMPY\x01\x00\x3a\x00"
    + b"{'descr': '<u2', 'fortran_order': False, 'shape': (1,), }\n"
    + b"ab",
}


@pytest.mark.parametrize("mutate", VALID)
def test_damage_follows_from_the_seed_and_is_rarely_none(mutate: Callable) -> None:
    kinds, valid = {"x": mutate}, {"x": VALID[mutate]}

    def damaged(seed: int) -> bytes:
        return mutate_one(valid, kinds, batch_rng("x", seed))["x"]

    results = [damaged(seed) for seed in range(200)]
    assert results == [damaged(seed) for seed in range(200)]
    assert sum(result != valid["x"] for result in results) > 150
    assert len(set(results)) > 80


def test_texts_follow_from_the_seed() -> None:
    assert draw_texts(batch_rng("x", 3), 50) == draw_texts(batch_rng("x", 3), 50)
    assert draw_bytes(batch_rng("x", 3), 50) != draw_bytes(batch_rng("x", 4), 50)


def problem_of(load: Callable[[Path], object], folder: Path) -> str:
    """Return what the fuzzer says of a loader that does `load` with every damaged file."""

    def load_damaged(path: Path) -> object:
        return None if (path / "a").read_bytes() == b"valid" else load(path / "a")

    folder.joinpath("a").write_bytes(b"valid")
    target = Loader(folder, {"a": mutate_bytes}, load_damaged, bytes_a_byte=2)
    with pytest.raises(FindingError) as finding:
        target.run(random.Random(0))
    assert (folder / "a").read_bytes() == b"valid"
    return str(finding.value)


def _raise(error: Exception) -> None:
    raise error


class Command:
    """What pickle runs when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("load", "problem"),
    [
        (lambda path: {}["x"], "KeyError: 'x'"),
        (lambda path: _raise(RecursionError("too deep")), "RecursionError: too deep"),
        (lambda path: _raise(ValueError("malformed")), "ValueError('malformed') names no file"),
        (lambda path: list(path.parent.parent.iterdir()), "os.listdir of"),
        (lambda path: np.ones(9_000_000) and None, "bytes of memory, but 8 are allowed"),
        (lambda path: pickle.loads(pickle.dumps(Command())), "pickle.find_class"),
        (lambda path: os.system("true"), "os.system"),
        (lambda path: exec(path.name), "code from '<string>' ran"),
        (lambda path: (path.parent / "../b").write_text(""), "open of"),
    ],
)
def test_every_misdeed_of_a_loader_is_found(
    load: Callable[[Path], object], problem: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    assert problem in problem_of(load, tmp_path / "in")


def test_a_loader_that_does_not_end_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.fuzzing.watching.MAX_SECONDS", 0.05)
    assert "not done after" in problem_of(lambda path: time.sleep(5), tmp_path)


def test_an_error_that_names_the_file_is_no_finding(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"valid")

    def load(path: Path) -> None:
        if (path / "a").read_bytes() != b"valid":
            raise ValueError(f"{path / 'a'}: malformed")

    assert Loader(tmp_path, {"a": mutate_bytes}, load, bytes_a_byte=2).run(random.Random(0)) == 50
