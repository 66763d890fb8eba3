"""Prepared data is complete or built again, at whatever operation its maker is stopped or fails."""

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults.disk import Disk, every_fault, killed_at, record

from trainer.config.run_config import CorpusConfig, TokenizerConfig
from trainer.data.preparation import PreparedData, prepare
from trainer.monitoring.progress import Reporter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layer reads /proc")

TEXT = "<|endoftext|>".join(f"the cat {i} sat on the mat\n" * 3 for i in range(20))


@pytest.fixture
def work(tmp_path: Path) -> Callable[[], PreparedData]:
    """Prepare a text of which a part is held out: three folders come of it."""
    (tmp_path / "text.txt").write_text(TEXT)
    corpus = CorpusConfig(
        source="files", train=(tmp_path / "text.txt",), cache_dir=tmp_path / "data"
    )
    config = SimpleNamespace(corpus=corpus, tokenizer=TokenizerConfig(vocab_size=262))
    return lambda: prepare(config, reporter=Reporter(mode="silent"))


def litter(folder: Path) -> list[str]:
    """Return what is there besides finished folders and locks."""
    names = [path.name for path in folder.rglob("*")]
    return [name for name in names if name.endswith((".part", ".tmp"))]


@pytest.mark.parametrize(
    "step",
    [pytest.param(5, marks=pytest.mark.campaign), pytest.param(1, marks=pytest.mark.slow)],
)
def test_a_kill_costs_no_more_than_building_again(
    tmp_path: Path, work: Callable[[], PreparedData], step: int
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    operations = record(data, work)
    expected = work().hashes()
    for number in range(0, len(operations), step):
        shutil.rmtree(data)
        data.mkdir()
        assert killed_at(number, data, work)
        assert work().hashes() == expected, operations[number]
        assert litter(data) == [], operations[number]


@pytest.mark.slow
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_a_failing_disk_is_told_and_costs_no_more_than_building_again(
    tmp_path: Path, work: Callable[[], PreparedData], for_good: bool
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    operations = record(data, work)
    expected = work().hashes()
    for number, fault in every_fault(operations, "ENOSPC", "EIO", "torn"):
        shutil.rmtree(data)
        data.mkdir()
        with (
            Disk(data, at=number, fault=fault, for_good=for_good),
            contextlib.suppress(OSError, ValueError),
        ):
            assert work().hashes() == expected
        assert work().hashes() == expected, (fault, operations[number])
        assert litter(data) == [], (fault, operations[number])
