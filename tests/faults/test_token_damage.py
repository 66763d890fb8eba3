"""Token files: every flipped bit and every other length is noticed by open and check_hash."""

import random
from pathlib import Path

import pytest

from tokenizer import TokenFile, Tokenizer

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("name", ["x.npy", "x.documents.npy"])
def test_damage_of_a_token_file_is_noticed(tmp_path: Path, is_full: bool, name: str) -> None:
    (tmp_path / "x.txt").write_text("some words<|endoftext|>and some more" * 40)
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], ["<|endoftext|>"])
    tokenizer.encode_file(tmp_path / "x.txt", tmp_path / "x.npy")
    path, generator = tmp_path / name, random.Random(6)
    data = path.read_bytes()
    bits = [*range(0, 8 * 128, 1 if is_full else 7)]  # numpy's header is 128 bytes
    bits += [generator.randrange(8 * len(data)) for _ in range(10_000 if is_full else 200)]
    lengths = range(0, len(data), 1 if is_full else 13)
    tried = 0
    for damaged in (*(_flipped(data, bit) for bit in bits), *(data[:n] for n in lengths), data * 2):
        path.write_bytes(damaged)
        with pytest.raises((ValueError, OSError)):
            TokenFile.open(tmp_path / "x.npy").check_hash()
        tried += 1
    path.write_bytes(data)
    TokenFile.open(tmp_path / "x.npy").check_hash()
    print(f"{tried} damaged files")


def _flipped(data: bytes, bit: int) -> bytes:
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)
