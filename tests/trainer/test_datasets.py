"""Public datasets are records: what a file in their folder says is what a run can train on."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trainer
from trainer.config.datasets import DatasetFile, dataset_names, load_dataset
from trainer.config.inputs import CorpusConfig
from trainer.data.public import datasets
from trainer.data.public.download import DownloadRecord
from trainer.monitoring.progress import Reporter

TEXT = b"once"
RECORD = """licence = "CC0-1.0"
url = "https://example.org"
format = "text"
train = { file = "a.txt" }
validation = { file = "b.txt", size_bytes = 4 }
"""
SHOWN = """
from trainer.cli.run_arguments import parse_prepare
from trainer.config.datasets import load_dataset

print(load_dataset("fables").validation)
try:
    parse_prepare(["mine", "--corpus.source", "fables", "--help"])
except SystemExit:
    parse_prepare(["mine", "--corpus.source", "fable"])
"""


def test_a_new_record_and_a_new_preset_are_known_everywhere(tmp_path: Path) -> None:
    copy = tmp_path / "trainer"
    shutil.copytree(Path(trainer.__file__).parent, copy)
    (copy / "data/public/fables.toml").write_text(RECORD)
    shutil.copy(copy / "config/presets/quickstart.toml", copy / "config/presets/mine.toml")
    around = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SHOWN], capture_output=True, text=True, env=around, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "DatasetFile(file='b.txt', size_bytes=4, sha256=None)" in done.stdout
    assert "--corpus.source {stdlib,fables,owt,tinystories,files}" in done.stdout
    assert "Presets: quickstart, mine, owt" in done.stdout
    assert "'fables'" in done.stderr


@pytest.mark.parametrize("name", dataset_names())
def test_every_record_is_whole_and_can_be_a_corpus(name: str) -> None:
    record = load_dataset(name)
    assert record.url.startswith("https://")
    assert CorpusConfig(source=name).source == name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("licence", "license", "unexpected keyword argument 'license'"),
        ('"text"', '"zip"', "format is 'zip', but must be one of 'text', 'gzip'"),
        ("size_bytes = 4", 'size_bytes = "4"', "size-bytes is '4'"),
        ("train = ", "training = ", "'train'"),
        ("url = ", "url", "fables.toml is not valid TOML"),
    ],
)
def test_a_damaged_record_is_named(
    old: str, new: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fables.toml").write_text(RECORD.replace(old, new))
    monkeypatch.setattr("trainer.config.datasets._FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"fables\.toml") as caught:
        load_dataset("fables")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("file", "is_right"),
    [
        (DatasetFile(file="a.txt", sha256=hashlib.sha256(TEXT).hexdigest(), size_bytes=4), True),
        (DatasetFile(file="a.txt", sha256="0" * 64), False),
        (DatasetFile(file="a.txt", size_bytes=5), False),
    ],
)
def test_what_arrives_must_be_what_the_record_says(
    file: DatasetFile, is_right: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(TEXT).hexdigest()
    arrived = DownloadRecord(url="u", size_bytes=len(TEXT), sha256=digest, checked=True)
    monkeypatch.setattr(datasets, "download", lambda url, path, reporter: arrived)
    path, reporter = tmp_path / "a.txt", Reporter(mode="silent")
    if is_right:
        assert datasets._fetch(file, "u", path, reporter) == path
    else:
        with pytest.raises(ValueError, match="but the dataset's record has"):
            datasets._fetch(file, "u", path, reporter)
