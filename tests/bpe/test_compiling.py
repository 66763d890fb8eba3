"""When does training compile? Not for small work, once for large work, and not without a word."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bpe
from bpe._kernels.merging import merge_compiled

TRAIN = """
import json, logging, sys, time
import bpe
log = []
handler = logging.Handler()
handler.emit = lambda record: log.append(record.getMessage())
logging.getLogger("bpe").addHandler(handler)
options = json.loads(sys.argv[1])
_, merges = bpe.train_bpe("corpus", **options)
seconds, has_numba = time.process_time(), "numba" in sys.modules
print(json.dumps([seconds, has_numba, log, [[a.hex(), b.hex()] for a, b in merges]]))
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


def train(directory: Path, cache: Path, **options: object) -> tuple[float, bool, list[str], list]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRAIN, json.dumps(options)],
        cwd=directory,
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds, has_numba, log, merges = json.loads(done.stdout)
    return seconds, has_numba, log, [tuple(map(bytes.fromhex, pair)) for pair in merges]


def test_small_training_never_waits_for_a_compiler(directory: Path, tmp_path: Path) -> None:
    seconds, has_numba, log, merges = train(directory, tmp_path, vocab_size=500)
    assert not has_numba and log == [] and len(merges) == 244
    assert seconds < 1.5  # of this CPU, imports included
    counts = bpe.count_pretokens(directory / "corpus")
    assert merge_compiled(counts.packed, 244, progress=lambda *amounts: None) == merges


def test_large_training_compiles_once_and_says_so(directory: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    (large / "corpus").write_bytes(python_source(1_000_000) * 26)
    _, _, first_log, first = train(large, tmp_path, vocab_size=400)
    seconds, _, second_log, second = train(large, tmp_path, vocab_size=400)
    said = [line.split(" kernels")[0] for line in first_log]
    assert said[0] == "compiling the counting" and len(said) <= 2
    assert second_log == [] and second == first and seconds < 4
