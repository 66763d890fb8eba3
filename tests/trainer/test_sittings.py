"""A resumed run may change how it computes, not what; what that costs is reported."""

import dataclasses
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from faults.tiny_run import outcome, run_tiny, tiny_config
from safetensors.torch import load_file

import trainer.run
from trainer.checkpoint.run_checkpoint import list_checkpoints
from trainer.checkpoint.sittings import describe_changes, read_sittings
from trainer.config.presets import load_config, load_preset
from trainer.config.resumable import _options, changed_options, require_resumable
from trainer.config.run_config import RunConfig
from trainer.summary import Summary
from trainer.training.interrupts import StopRequest
from trainer.training.step import EagerStepper

HOW = {
    *("device", "dtype", "deterministic", "model.attention", "training.loss", "training.compile"),
    *("training.micro-batch-size", "training.activation-checkpointing"),
}
PLACES = {"corpus.train", "corpus.validation", "corpus.cache-dir", "corpus.mirror"}


def _changed(config: RunConfig, **changes: Any) -> RunConfig:
    for name, value in changes.items():
        section, _, field = name.rpartition("__")
        inner = (
            dataclasses.replace(getattr(config, section), **{field: value}) if section else value
        )
        config = dataclasses.replace(config, **{section or field: inner})
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    path = tmp_path_factory.mktemp("prepared")
    return tiny_config(path, model__attention="matmul", training__loss="chunked")


@pytest.fixture(scope="module")
def whole(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    run_tiny(config, run_dir)
    return run_dir


def _cut(config: RunConfig, path: Path, monkeypatch: pytest.MonkeyPatch, *, step: int) -> None:
    """Train up to a step, as if Ctrl-C came then."""
    request, original = StopRequest(), EagerStepper.step

    def stepped(self: EagerStepper, number: int, rate: float) -> object:
        if number == step:
            request.signal = signal.SIGINT
        return original(self, number, rate)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.run, "StopRequest", lambda **_: request)
        patch.setattr(StopRequest, "__bool__", lambda self: self.signal is not None)
        patch.setattr(EagerStepper, "step", stepped)
        run_tiny(config, path)


def test_every_field_says_whether_a_resumed_run_may_change_it() -> None:
    answers = {option: key for option, _, key in _options(load_preset("quickstart"))}
    assert {option for option, key in answers.items() if key == "how"} == HOW
    assert {option for option, key in answers.items() if key == "length"} == {"training.max-steps"}
    beside = {option for option, key in answers.items() if key == "beside"}
    outputs = {option for option in answers if option.startswith(("eval", "check", "logging"))}
    assert beside == outputs | PLACES | {"tokenizer.num-workers"}


def test_what_decides_what_is_trained_is_refused_by_name_also_of_the_library(
    config: RunConfig, whole: Path
) -> None:
    asked = _changed(config, optimizer__learning_rate=1.0, seed=3, device="cpu")
    words = "cannot change: optimizer.learning-rate, seed; start a new run"
    with pytest.raises(ValueError, match=words):
        require_resumable(config, asked, run_dir=whole)
    with pytest.raises(ValueError, match=words):
        run_tiny(asked, whole, resume=True)
    assert dict(changed_options(config, asked)) == {"optimizer.learning-rate": None, "seed": None}


def test_another_way_to_compute_is_reported_and_kept_in_the_history(
    config: RunConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    _cut(config, run, monkeypatch, step=6)
    how = {"model__attention": "plain", "training__micro_batch_size": 1}
    _, said = run_tiny(_changed(config, **how), run, resume=True)
    line = "from step 6 on: attention matmul -> plain, micro batch size 2 -> 1; the weights agree"
    assert line in said
    assert "no longer promised to be the same bit for bit" in said
    first, second = read_sittings(run / "sittings.jsonl")
    assert (first.step, first.attention, second.step, second.attention) == (0, "matmul", 6, "plain")
    assert load_config(run / "config.toml").model.attention == "plain"
    summary = Summary.load(run / "summary.json")
    assert [sitting["attention"] for sitting in summary.sittings] == ["matmul", "plain"]
    assert any(note.startswith(line) for note in summary.notes)
    found, wanted = (
        load_file(list_checkpoints(one)[0] / "model.safetensors") for one in (run, whole)
    )
    for name, weights in wanted.items():
        torch.testing.assert_close(found[name], weights, rtol=1e-3, atol=1e-5)


BIT_FOR_BIT = [
    {"training__activation_checkpointing": True},
    {"tokenizer__num_workers": 2, "evaluation__batch_size": 1, "checkpoint__keep": 1},
]


@pytest.mark.parametrize("changes", BIT_FOR_BIT)
def test_what_is_said_to_keep_the_bits_keeps_them(
    config: RunConfig,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    _cut(config, tmp_path / "run", monkeypatch, step=5)
    _, said = run_tiny(_changed(config, **changes), tmp_path / "run", resume=True)
    assert "no longer promised" not in said
    assert outcome(tmp_path / "run") == outcome(whole)


def test_a_sitting_whose_steps_were_lost_is_no_history(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    _cut(config, run, monkeypatch, step=2)
    for path in list_checkpoints(run):
        (path / "state.json").unlink()
    run_tiny(_changed(config, model__attention="plain"), run, resume=True)
    assert [one.attention for one in read_sittings(run / "sittings.jsonl")] == ["plain"]


def test_threads_and_instructions_are_part_of_how_a_sitting_computed(
    config: RunConfig, whole: Path
) -> None:
    [one] = read_sittings(whole / "sittings.jsonl")
    assert one.threads == 1
    assert one.deterministic is None
    more = dataclasses.replace(one, step=3, threads=2)
    [line] = describe_changes([one, more])
    assert line.startswith("from step 3 on: threads 1 -> 2; the weights agree")


def test_another_end_of_the_schedule_is_reported(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cut(config, tmp_path / "run", monkeypatch, step=2)
    _, said = run_tiny(_changed(config, training__max_steps=4), tmp_path / "run", resume=True)
    assert "the schedule now ends at step 4 instead of 12" in said


def test_fewer_steps_than_are_made_are_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, training__max_steps=6)
    run_tiny(config, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    before = (tmp_path / "run" / "config.toml").read_bytes()
    shorter = tiny_config(tmp_path, training__max_steps=3)
    with pytest.raises(
        ValueError, match=r"training\.max-steps ends the run at step 3, but .* already at step 6"
    ):
        run_tiny(shorter, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "config.toml").read_bytes() == before


def test_more_windows_than_tokens_are_refused_before_a_run_is_there(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, evaluation__num_windows=10**9)
    with pytest.raises(ValueError, match=r"evaluation\.num-windows is 1,000,000,000, but the"):
        run_tiny(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
