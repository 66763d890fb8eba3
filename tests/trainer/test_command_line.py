"""The command line of train: presets, overrides, what a resumed run admits."""

import dataclasses
from pathlib import Path

import pytest

from trainer.cli.run_arguments import parse_evaluate, parse_generate, parse_prepare, parse_train
from trainer.config.presets import config_to_toml, load_config, load_preset
from trainer.storage.run_directory import create_run


def _saved_run(path: Path, preset: str = "quickstart") -> Path:
    run = create_run(path)
    run.config.write_text(config_to_toml(load_preset(preset)))
    return run.path


def test_no_arguments_mean_the_quickstart() -> None:
    request = parse_train([])
    assert request.config == load_preset("quickstart")
    assert (request.run_dir, request.resume, request.notes) == (None, False, ())


@pytest.mark.parametrize(
    ("arguments", "section", "name", "value"),
    [
        (["--training.max-steps", "70"], "training", "max_steps", 70),
        (["--checkpoint.every-steps", "7"], "checkpoint", "every_steps", 7),
        (["--checkpoint.keep", "None"], "checkpoint", "keep", None),
        (["--evaluation.every-steps", "7"], "evaluation", "every_steps", 7),
        (["--optimizer.learning-rate", "1e-4"], "optimizer", "learning_rate", 1e-4),
        (["--schedule.name", "wsd"], "schedule", "name", "wsd"),
        (["--schedule.warmup-steps", "3"], "schedule", "warmup_steps", 3),
        (["--schedule.final-fraction", "0"], "schedule", "final_fraction", 0.0),
        (["--model.tie-embeddings", "True"], "model", "tie_embeddings", True),
        (["--model.num-kv-heads", "2"], "model", "num_kv_heads", 2),
        (["--tokenizer.vocab-size", "500"], "tokenizer", "vocab_size", 500),
        (["--corpus.cache-dir", "x"], "corpus", "cache_dir", Path("x")),
        (["--logging.every-steps", "2"], "logging", "every_steps", 2),
    ],
)
def test_every_field_can_be_overridden(
    arguments: list[str], section: str, name: str, value: object
) -> None:
    quickstart = load_preset("quickstart")
    changed = dataclasses.replace(getattr(quickstart, section), **{name: value})
    assert parse_train(arguments).config == dataclasses.replace(quickstart, **{section: changed})


def test_seed_device_and_dtype_stand_at_the_top() -> None:
    config = parse_train(["--seed", "5", "--device", "cpu", "--dtype", "bfloat16"]).config
    assert (config.seed, config.device, config.dtype) == (5, "cpu", "bfloat16")


def test_a_preset_comes_first() -> None:
    request = parse_train(["tinystories", "--run-dir", "x"])
    assert request.config == load_preset("tinystories")
    assert request.run_dir == Path("x")


def test_naming_text_files_is_enough() -> None:
    config = parse_train(
        ["--corpus.train", "a.txt", "b.txt", "--corpus.validation", "c.txt"]
    ).config
    assert config.corpus.source == "files"
    assert config.corpus.train == (Path("a.txt"), Path("b.txt"))
    assert config.corpus.validation == (Path("c.txt"),)


def test_an_unreadable_value_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_train(["--training.max-steps", "many"])
    assert caught.value.code == 2
    assert "--training.max-steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("--optimizer.learning-rat", "--optimizer.learning-rate"),
        ("--max-steps", "--training.max-steps"),
        ("--training.warmup_steps=3", "--schedule.warmup-steps"),
        ("--reusme", "--resume"),
        ("--lr", "--optimizer.learning-rate"),
        ("--bs", "--training.batch-size or --evaluation.batch-size"),
    ],
)
def test_an_unknown_option_names_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {nearest}[?]"):
        parse_train([given, "3"])


def test_a_preset_behind_options_is_refused_and_not_half_used() -> None:
    with pytest.raises(ValueError, match="put it first: train tinystories"):
        parse_train(["--seed", "3", "tinystories"])
    with pytest.raises(ValueError, match="did you mean 'quickstart'"):
        parse_train(["--seed", "3", "quickstar"])


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'quickstart'"):
        parse_train(["quickstar"])


def test_resume_takes_the_saved_configuration(tmp_path: Path) -> None:
    run = _saved_run(tmp_path / "run", "tinystories")
    request = parse_train(["--resume", str(run)])
    assert request.config == load_config(run / "config.toml") == load_preset("tinystories")
    assert (request.run_dir, request.resume) == (run, True)


def test_a_resumed_run_admits_more_steps_and_other_intervals(tmp_path: Path) -> None:
    run = _saved_run(tmp_path / "run")
    more_steps = ["--training.max-steps", "999", "--checkpoint.keep", "1"]
    intervals = ["--evaluation.every-steps", "3", "--logging.every-steps", "1"]
    request = parse_train(["--resume", str(run), *more_steps, *intervals])
    assert request.config.training.max_steps == 999
    assert request.config.checkpoint.keep == 1


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--optimizer.learning-rate", "1"], "optimizer.learning-rate"),
        (["--training.batch-size", "1"], "training.batch-size"),
        (["--seed", "9"], "seed"),
        (["--corpus.train", "x.txt"], "corpus"),
    ],
)
def test_a_resumed_run_refuses_other_overrides_by_name(
    tmp_path: Path, arguments: list[str], name: str
) -> None:
    run = _saved_run(tmp_path / "run")
    with pytest.raises(ValueError, match=name):
        parse_train(["--resume", str(run), *arguments])


def test_a_resumed_run_refuses_another_preset(tmp_path: Path) -> None:
    run = _saved_run(tmp_path / "run", "tinystories")
    with pytest.raises(ValueError, match="cannot change: preset"):
        parse_train(["quickstart", "--resume", str(run)])


def test_resume_auto_without_a_run_starts_anew_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = parse_train(["--resume", "auto"])
    assert not request.resume
    assert request.notes == ("no run to resume at runs/quickstart-NNN: starting a new run",)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_train(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for words in ("tinystories-cpu", "--training.max-steps", "--resume RUN|auto", "Peak learning"):
        assert words in text


def test_prepare_takes_the_options_of_train_but_makes_no_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert parse_prepare(["owt", "--tokenizer.vocab-size", "300"]).config.preset == "owt"
    for arguments in (["--run-dir", "x"], ["--resume", "auto"]):
        with pytest.raises(ValueError, match="prepare creates no run"):
            parse_prepare(arguments)
    with pytest.raises(SystemExit):
        parse_prepare(["--help"])
    assert "but train no model" in capsys.readouterr().out


def test_generate_and_evaluate_have_sane_defaults() -> None:
    request = parse_generate(["runs/x", "--prompt", "def ", "--top-k", "5"])
    assert (request.run, request.prompt, request.top_k) == (Path("runs/x"), ("def ",), 5)
    assert parse_evaluate(["runs/x"]).run == Path("runs/x")
    with pytest.raises(ValueError, match="batch-size is 0"):
        parse_evaluate(["runs/x", "--batch-size", "0"])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("optimizer.learning-rate", "inf"),
        ("optimizer.weight-decay", "nan"),
        ("optimizer.adamw.eps", "inf"),
        ("evaluation.target-loss", "nan"),
        ("evaluation.sample-temperature", "inf"),
    ],
)
def test_a_number_that_is_not_finite_is_refused(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit):
        parse_train([f"--{option}", value])
    assert f"{option} is {value}" in " ".join(capsys.readouterr().err.split())
