"""Recommended commands work where they are read; names from other tools are understood."""

import shlex
from pathlib import Path

import pytest

from trainer import command_hints
from trainer.cli.report_arguments import parse_compare
from trainer.cli.run_arguments import parse_train
from trainer.config.presets import config_from_toml, config_to_toml, load_preset
from trainer.experiments import Outcome, parse_over, sweep

ROOT = Path(__file__).parents[2]


def test_a_command_is_quoted_and_names_the_workspace_only_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "docs")
    line = command_hints.command("train", "--resume", Path("my runs/a"))
    assert line == "uv run --package trainer train --resume 'my runs/a'"
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command_hints.command("train", "--resume", Path("my runs/a")))
    assert words[:6] == ["uv", "run", "--package", "trainer", "--project", str(ROOT)]
    assert words[6:] == ["train", "--resume", "my runs/a"]
    assert str(ROOT) in command_hints.install_extra("png")


def test_without_a_workspace_the_installed_program_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command_hints, "_workspace", lambda: None)
    program, *rest = shlex.split(command_hints.command("train", "--resume", "x"))
    assert Path(program).exists() and rest == ["--resume", "x"]
    assert command_hints.install_extra("png") == "uv pip install 'trainer[png]'"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("lr", "optimizer.learning-rate"),
        ("wd", "optimizer.weight-decay"),
        ("bs", "training.batch-size"),
        ("n_layer", "model.num-layers"),
        ("n_head", "model.num-heads"),
        ("n_embd", "model.d-model"),
        ("block_size", "model.context-length"),
        ("epochs", "training.max-steps"),
        ("grad_clip", "optimizer.max-grad-norm"),
    ],
)
def test_names_from_other_tools_are_understood_everywhere(given: str, meant: str) -> None:
    section, _, field = meant.partition(".")
    base = load_preset("quickstart")
    with pytest.raises(ValueError, match=f"did you mean --{meant}[ ?]"):
        parse_train([f"--{given}", "1"])
    for name in (given, f"{section}.{given}"):
        with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
            sweep(base, [parse_over(f"{name}=1,2")])
    text = config_to_toml(base).replace(f"[{section}]\n", f"[{section}]\n{given} = 1\n")
    with pytest.raises(ValueError, match=f"did you mean '{field.replace('-', '_')}'"):
        config_from_toml(text, origin="x.toml")


def test_compare_skips_what_a_study_keeps_beside_its_runs(tmp_path: Path) -> None:
    trials = tmp_path / "trials"
    for name in ("a,lr=0.1", "b"):
        (trials / name).mkdir(parents=True)
        (trials / f"{name}.lock").touch()
        outcome = Outcome(status="finished", validation_loss=1.0, step=1)
        outcome.save(trials / f"{name}.json")
    (trials / "compare.html").write_text('<!doctype html>\n<html lang="en">\n')
    given = sorted(str(path) for path in trials.iterdir())
    assert parse_compare(given).runs == (trials / "a,lr=0.1", trials / "b")
    for stranger, text in (("notes.txt", "x"), ("own.json", "{}"), ("uv.lock", "x")):
        (trials / stranger).write_text(text)
        assert parse_compare([*given, str(trials / stranger)]).runs[-1] == trials / stranger
