"""Importing the package: quick, and plain about a foreign `bpe`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_python(code: str, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize("name", ["bpe.py", "bpe/__init__.py"])
def test_a_foreign_bpe_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("class Encoder: pass\n")
    process = run_python("import tokenizer", path=tmp_path)
    assert process.returncode == 1
    last = process.stderr.splitlines()[-1]
    assert last.startswith("ImportError: tokenizer needs this project's bpe")
    assert str(foreign) in last
    assert 'pip install "bpe @ git+URL#subdirectory=packages/bpe"' in last
    assert '"tokenizer @ git+URL#subdirectory=packages/tokenizer"' in last


def test_no_bpe_at_all_says_what_to_do() -> None:
    process = run_python("import sys; sys.modules['bpe'] = None; import tokenizer")
    assert process.returncode == 1
    assert "none is installed" in process.stderr
    assert "pip install" in process.stderr


def test_what_bpe_itself_lacks_is_not_called_foreign() -> None:
    process = run_python("import sys; sys.modules['regex'] = None; import tokenizer")
    assert process.returncode == 1
    assert "another project" not in process.stderr
    assert "regex" in process.stderr.splitlines()[-1]


def test_import_and_small_work_load_neither_numba_nor_torch() -> None:
    code = """
import sys
import tokenizer
tokenizer.Tokenizer({i: bytes([i]) for i in range(256)}, []).encode("some text")
assert not {"numba", "torch", "multiprocessing"} & set(sys.modules), sorted(sys.modules)
"""
    process = run_python(code)
    assert process.returncode == 0, process.stderr
