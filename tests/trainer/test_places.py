"""A run resumes from any folder, and after it was moved; missing files are named."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from faults.tiny_run import outcome, run_tiny, tiny_config

from trainer.cli.run_arguments import NewPlaces, parse_evaluate, parse_train
from trainer.config.presets import load_config, load_preset
from trainer.config.run_config import RunConfig
from trainer.evaluation.score import score_run
from trainer.experiments.study import open_study
from trainer.inference.trained_run import load_run
from trainer.monitoring.progress import Reporter

QUIET = Reporter(mode="silent")


def _relative(project: Path, **changes: object) -> RunConfig:
    """Return a configuration whose paths are relative to the folder of the project."""
    config = tiny_config(project, training__max_steps=3, **changes)
    corpus = dataclasses.replace(config.corpus, train=(Path("corpus.txt"),), cache_dir=Path("data"))
    return dataclasses.replace(config, corpus=corpus)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a text, its prepared data and a finished run, made from inside of it."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    run_tiny(_relative(folder), Path("runs/x"))
    monkeypatch.chdir(tmp_path)
    return folder


def _more(run: Path, *words: str) -> str:
    request = parse_train(["--resume", str(run), "--training.max-steps", "4", *words])
    assert request.run_dir is not None
    return run_tiny(request.config, request.run_dir, resume=True)[1]


def test_a_run_is_evaluated_and_resumed_from_another_folder(project: Path, tmp_path: Path) -> None:
    corpus = load_config(project / "runs/x/config.toml").corpus
    assert (corpus.train, corpus.cache_dir) == ((project / "corpus.txt",), project / "data")
    assert score_run(load_run(project / "runs/x"), batch_size=4, reporter=QUIET)["step"] == 3
    assert "reusing" in _more(project / "runs/x")
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


def test_a_project_that_was_moved_as_a_whole_goes_on_with_what_moved_along(
    project: Path, tmp_path: Path
) -> None:
    moved = project.rename(tmp_path / "elsewhere")
    assert score_run(load_run(moved / "runs/x"), batch_size=4, reporter=QUIET)["step"] == 3
    said = _more(moved / "runs/x")
    assert f"{project / 'corpus.txt'} is gone: using {moved / 'corpus.txt'}" in said
    assert not project.exists()
    assert load_config(moved / "runs/x/config.toml").corpus.train == (moved / "corpus.txt",)


@pytest.mark.parametrize("inside", [True, False])
def test_token_files_inside_a_moved_run_or_beside_it_are_found_without_the_text(
    project: Path, tmp_path: Path, inside: bool
) -> None:
    run = (project / "runs/x").rename(tmp_path / "y")
    (project / "data").rename((run if inside else tmp_path) / "data")
    (project / "corpus.txt").unlink()
    report = score_run(load_run(run), batch_size=4, reporter=QUIET)
    assert report["step"] == 3
    said = _more(run)
    assert f"{project / 'corpus.txt'} is gone: using the token files in" in said
    assert (run / "checkpoints/step-4").is_dir()


def test_a_moved_run_ends_as_one_that_was_not(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project / "runs/x", tmp_path / "y")
    _more(project / "runs/x")
    _more(copy)
    assert outcome(copy) == outcome(project / "runs/x")


def test_what_is_gone_is_named_with_the_option_for_its_new_place(
    project: Path, tmp_path: Path
) -> None:
    run = (project / "runs/x").rename(tmp_path / "deep")
    text = (project / "corpus.txt").rename(tmp_path / "moved.txt")
    data = (project / "data").rename(tmp_path / "tokens")
    words = r"corpus.txt is gone, and so are the token files in .*; name .* with --corpus.train, .*"
    with pytest.raises(ValueError, match=words + "--corpus.cache-dir"):
        score_run(load_run(run), batch_size=4, reporter=QUIET)
    with pytest.raises(ValueError, match=words):
        _more(run)
    loaded = load_run(run)
    for option in (["--corpus.train", str(text)], ["--corpus.cache-dir", str(data)]):
        places = parse_evaluate([str(run), *option]).corpus
        found = dataclasses.replace(loaded, config=places.applied(loaded.config))
        assert score_run(found, batch_size=4, reporter=QUIET)["step"] == 3
    _more(run, "--corpus.train", str(text))
    assert load_config(run / "config.toml").corpus.train == (text,)


def test_another_text_at_the_new_place_is_refused(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("another line\n" * 200)
    with pytest.raises(ValueError, match="the text or tokenizer changed since"):
        _more(project / "runs/x", "--corpus.train", str(other))


def test_places_of_files_are_refused_for_a_run_on_other_text() -> None:
    with pytest.raises(ValueError, match=r"corpus\.source is 'stdlib', but corpus\.train names"):
        NewPlaces(train=(Path("a.txt"),)).applied(load_preset("quickstart"))


def test_a_study_means_the_same_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = _relative(tmp_path)
    study = open_study(tmp_path / "s", kind="sweep", base=base, trials=[])
    assert study.base.corpus.train == (tmp_path / "corpus.txt",)
    assert open_study(tmp_path / "s", kind="sweep", base=base, trials=[]).base == study.base
