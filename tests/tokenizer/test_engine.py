"""Small work never waits for a compiler, large work gets one, and neither shows in the ids."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tokenizer import Tokenizer, engine

BYTES = {i: bytes([i]) for i in range(256)}
REPORT = """
import json, logging, sys, time
from tokenizer import Tokenizer
tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
ids, uses_numba = [], []
for size in SIZES:
    ids.append(len(tokenizer.encode("ab " * (size // 3))))
    uses_numba.append("numba" in sys.modules)
print(json.dumps([ids, uses_numba]))
"""


def run(sizes: list[int], kernel_cache: Path) -> tuple[list[bool], str]:
    """Encode texts of some sizes in a fresh process; whether Numba was there after each."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT.replace("SIZES", str(sizes))],
        env={**os.environ, "NUMBA_CACHE_DIR": str(kernel_cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    ids, uses_numba = json.loads(done.stdout)
    assert ids == [size // 3 * 2 for size in sizes]
    return uses_numba, done.stderr


def test_kernels_are_compiled_when_it_pays_and_found_again(tmp_path: Path) -> None:
    small, medium = 3_000, 3 * engine.PAYS_LOADING_BYTES // 2
    uses_numba, said = run([small, medium, small], tmp_path)
    assert uses_numba == [False, True, True]  # looked whether kernels are there
    assert said == ""
    _, said = run([small, 2 * engine.PAYS_COMPILING_BYTES], tmp_path)
    assert said == "compiling the encoding kernels: a few seconds, once per machine\n"
    assert run([small], tmp_path) == ([False], "")
    uses_numba, said = run([small, medium], tmp_path)
    assert (uses_numba, said) == ([False, True], "")


def test_many_small_texts_count_as_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PAYS_LOADING_BYTES", 1000)
    monkeypatch.setattr(engine, "PAYS_COMPILING_BYTES", 1000)
    tokenizer = Tokenizer(BYTES, [])
    for _ in range(9):
        assert tokenizer.encode("x" * 100) == [120] * 100
        assert tokenizer._engine._kernels is None
    assert tokenizer.encode("x" * 100) == [120] * 100
    assert tokenizer._engine._kernels is not None


def test_a_vocabulary_without_some_byte_stays_with_plain_python() -> None:
    tokenizer = Tokenizer({0: b"a", 1: b"b", 2: b"ab"}, [(b"a", b"b")])
    tokenizer.warm_up()
    assert tokenizer.kernels_for(1 << 40) is None
    assert tokenizer.encode("aab") == [0, 2]
    with pytest.raises(ValueError, match="no token for byte 0x63"):
        tokenizer.encode("abc")
