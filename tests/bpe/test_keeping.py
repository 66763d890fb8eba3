"""Machine code on disk: what is damaged, not ours or from another compiler is recompiled."""

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba")

from bpe._kernels import compiling, keeping

NEEDS_OWNERS = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owner here")
NEEDS_ROOT = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give a file away"
)
SOMEBODY = 4242
SOURCE = """
from bpe._kernels.compiling import kernel

@kernel
def twice(number):
    return 2 * number
"""


@pytest.fixture(autouse=True)
def _says_again() -> None:
    keeping.report.cache_clear()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A package with one kernel, whose code Numba keeps beside it."""
    sources = tmp_path / "some_kernels"
    sources.mkdir(mode=0o755)
    (sources / "twice.py").write_text(SOURCE)
    return sources


def _load(sources: Path) -> Any:
    """Import the kernel as another process would."""
    keeping._place.cache_clear()
    spec = importlib.util.spec_from_file_location("twice", sources / "twice.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.twice


def _is_loaded(sources: Path) -> bool:
    """Call the kernel; whether its code came from the disk rather than from the compiler."""
    twice = _load(sources)
    is_ready = compiling.are_ready(twice)
    assert twice(21) == 42
    was_loaded = bool(sum(twice.stats.cache_hits.values()))
    assert was_loaded == is_ready
    return was_loaded


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 64):
        content[place] ^= 0xFF
    path.write_bytes(content)


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _run_a_command(path: Path) -> None:
    """What Numba by itself would unpickle: `os.mkdir("pwned")`, beside the sources."""
    target = str(path.parent.parent / "pwned").encode()
    path.write_bytes(b"cos\nmkdir\n(V" + target + b"\ntR.")


def _open_to_all(path: Path) -> None:
    path.chmod(0o666)


def _give_away(path: Path) -> None:
    os.chown(path, SOMEBODY, -1)


HARM = [
    *(_flip, _halve, _empty, _run_a_command),
    pytest.param(_open_to_all, marks=NEEDS_OWNERS),
    pytest.param(_give_away, marks=NEEDS_ROOT),
]


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("harm", HARM)
def test_code_that_is_not_whole_or_not_ours_is_compiled_anew(
    harm, kind: str, sources: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert [_is_loaded(sources), _is_loaded(sources)] == [False, True]
    (path,) = (sources / "__pycache__").glob(f"*.{kind}")
    harm(path)
    assert [_is_loaded(sources), _is_loaded(sources)] == [False, True]
    assert not (sources / "pwned").exists()
    (said,) = _warnings(caplog)
    assert said.startswith(f"not loading compiled kernels from {sources / '__pycache__'}: ")


def test_code_is_not_loaded_under_another_name(sources: Path) -> None:
    assert not _is_loaded(sources)
    (path,) = (sources / "__pycache__").glob("*.nbc")
    other = sources.parent / "other_kernels"
    shutil.copytree(sources, other, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "twice.py").write_text(SOURCE.replace("2 *", "3 *"))
    assert _load(other)(2) == 6
    (wrong,) = (other / "__pycache__").glob("*.nbc")
    shutil.copy(wrong, path)
    assert not _is_loaded(sources)


@NEEDS_OWNERS
def test_a_folder_that_others_could_write_to_is_closed_and_emptied(
    sources: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = sources / "__pycache__"
    assert [_is_loaded(sources), _is_loaded(sources)] == [False, True]
    kept.chmod(0o777)
    assert [_is_loaded(sources), _is_loaded(sources)] == [False, True]
    assert kept.stat().st_mode & 0o777 == 0o755
    (said,) = _warnings(caplog)
    assert said.startswith(f"others could write to {kept}: closed it to them")


@NEEDS_OWNERS
def test_whoever_may_write_to_the_sources_may_write_beside_them(
    sources: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources.chmod(0o775)  # as with a umask of 002
    (sources / "__pycache__").mkdir()
    (sources / "__pycache__").chmod(0o775)
    assert [_is_loaded(sources), _is_loaded(sources)] == [False, True]
    assert _warnings(caplog) == []


@NEEDS_ROOT
@pytest.mark.parametrize("is_link", [False, True])
def test_a_folder_of_somebody_else_is_not_used(
    is_link: bool, sources: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = kept = sources / "__pycache__"
    if is_link:
        place = tmp_path / "elsewhere"
        kept.symlink_to(place)
    place.mkdir()
    os.chown(place, SOMEBODY, -1)
    assert [_is_loaded(sources), _is_loaded(sources)] == [False, False]
    assert not any(place.glob("*.nb*"))
    (said,) = _warnings(caplog)
    assert said.startswith(f"not keeping compiled kernels in {kept}: owned by user {SOMEBODY}")


def test_a_full_disk_costs_a_line(
    sources: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert not _is_loaded(sources)
    assert not any((sources / "__pycache__").glob("*.nb*"))
    (said,) = _warnings(caplog)
    assert said.startswith("compiled code is not kept for the next process: ")
    assert "No space left on device" in said


def test_processes_that_save_at_once_load_their_own(sources: Path) -> None:
    """Both look at an empty index first, so that by numbers both would write the same file."""
    whole, real = _load(sources), _load(sources)
    files = real._cache._cache_file
    before = files._load_index
    assert whole(21) == 42
    files._load_index = dict  # as it was when this process looked
    assert real(1.5) == 3.0
    files._load_index = before
    again = _load(sources)
    assert (again(1.5), again(21)) == (3.0, 42)


def test_another_numba_compiles_anew(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _is_loaded(sources)
    compiling.sources_stamp.cache_clear()
    monkeypatch.setattr(compiling.llvmlite, "__version__", "0.0")
    assert not _is_loaded(sources)
    compiling.sources_stamp.cache_clear()


TRAIN = """
import bpe
from bpe.merges import merge_compiled
counts = bpe.PretokenCounts({b"lower": 5})
print(merge_compiled(counts, 1, progress=lambda done, total: None))
"""


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_training_outlives_damage_of_any_file(kind: str, tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def train() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", TRAIN], env=environment, capture_output=True, text=True
        )

    expected = train().stdout
    for path in tmp_path.rglob(f"*.{kind}"):
        _flip(path)
    done = train()
    assert (done.returncode, done.stdout) == (0, expected)
    assert len(done.stderr.splitlines()) == 1
