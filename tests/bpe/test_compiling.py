"""When does training compile? Not for small work, once for large work, and not without a word."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bpe
from bpe._kernels.merging.learning import merge_compiled

TRAIN = """
import json, logging, sys
import bpe
log = []
handler = logging.Handler()
handler.emit = lambda record: log.append(record.getMessage())
logging.getLogger("bpe").addHandler(handler)
options = json.loads(sys.argv[1])
_, merges = bpe.train_bpe("corpus", **options)
has_numba = "numba" in sys.modules
print(json.dumps([has_numba, log, [[a.hex(), b.hex()] for a, b in merges]]))
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("compiling")
    (directory / "corpus").write_bytes(python_source(130_000))
    return directory


def python_source(num_bytes: int) -> bytes:
    files = sorted(Path(subprocess.__file__).parent.glob("*.py"))
    text = b"".join(path.read_bytes() for path in files)
    return text[:num_bytes].decode("utf-8", "ignore").encode()


def train(directory: Path, cache: Path, **options: object) -> tuple[bool, list[str], list]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRAIN, json.dumps(options)],
        cwd=directory,
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        check=True,
    )
    has_numba, log, merges = json.loads(done.stdout)
    return has_numba, log, [tuple(map(bytes.fromhex, pair)) for pair in merges]


def test_small_training_never_waits_for_a_compiler(directory: Path, tmp_path: Path) -> None:
    has_numba, log, merges = train(directory, tmp_path, vocab_size=500)
    assert not has_numba and log == [] and len(merges) == 244
    counts = bpe.count_pretokens(directory / "corpus")
    assert merge_compiled(counts.packed, 244, progress=lambda *amounts: None) == merges


def test_large_training_compiles_once_and_says_so(directory: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    (large / "corpus").write_bytes(python_source(1_000_000) * 26)
    _, first_log, first = train(large, tmp_path, vocab_size=400)
    _, second_log, second = train(large, tmp_path, vocab_size=400)
    said = [line.split(" kernels")[0] for line in first_log]
    assert said[0] == "compiling the counting" and len(said) <= 2
    assert second_log == [] and second == first


LOOK = """
import numpy as np
from bpe._kernels.compiling import are_ready
from bpe._kernels.cutting.validation import first_malformed
print(are_ready(first_malformed))
text = np.frombuffer(b"text", np.uint8)
assert first_malformed(text.ctypes.data, len(text), len(text)) == -1
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The package in a place of its own, with nothing compiled."""
    package = tmp_path / "path" / "bpe"
    shutil.copytree(Path(bpe.__file__).parent, package, ignore=shutil.ignore_patterns("*cache*"))
    return package


def is_ready(package: Path, *, has_home: bool = True) -> bool:
    """Ask a fresh process, which then compiles what is not ready."""
    environment = os.environ | {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    if has_home:
        environment["XDG_CACHE_HOME"] = str(package.parent.parent / "user")
    else:
        for name in ("HOME", "XDG_CACHE_HOME"):
            environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=package.parent,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {"True": True, "False": False}[done.stdout.strip()]


def test_an_edit_of_any_kernel_file_makes_kept_code_stale(copied: Path) -> None:
    assert [is_ready(copied), is_ready(copied)] == [False, True]
    assert list((copied / "_kernels" / "cutting" / "__pycache__").glob("*.nbi"))
    with (copied / "_kernels" / "machine.py").open("a") as file:
        file.write("# edited\n")
    assert [is_ready(copied), is_ready(copied)] == [False, True]


def test_code_is_kept_for_the_user_where_the_package_is_read_only(copied: Path) -> None:
    (copied / "_kernels" / "cutting" / "__pycache__").write_text(
        "a file, so nothing can be written into it"
    )
    assert [is_ready(copied), is_ready(copied)] == [False, True]
    assert list((copied.parent.parent / "user").rglob("*.nbi"))


def test_without_a_folder_for_code_each_process_compiles(copied: Path) -> None:
    (copied / "_kernels" / "cutting" / "__pycache__").write_text(
        "a file, so nothing can be written into it"
    )
    (copied.parent.parent / "user").write_text("likewise")
    assert [is_ready(copied), is_ready(copied)] == [False, False]


def test_without_a_home_no_folder_of_that_name_is_made(copied: Path) -> None:
    (copied / "_kernels" / "cutting" / "__pycache__").write_text(
        "a file, so nothing can be written into it"
    )
    hidden = copied.parent / "sitecustomize.py"
    hidden.write_text("import sys\nsys.modules['pwd'] = None\n")
    assert [is_ready(copied, has_home=False), is_ready(copied, has_home=False)] == [False, False]
    assert not (copied.parent / "~").exists()
