"""A token file is complete or absent, and refuses what does not belong to it."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import TokenFile, Tokenizer
from tokenizer.files.documents import DocumentStarts
from tokenizer.files.token_file import TokenFileWriter, documents_path

END = "<|endoftext|>"


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer({i: bytes([i]) for i in range(256)}, [], [END])


@pytest.fixture
def path(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    text = tmp_path / "text.txt"
    text.write_bytes(b"one" + END.encode() + b"two" + END.encode())
    tokenizer.encode_file(text, tmp_path / "tokens.npy")
    return tmp_path / "tokens.npy"


def change_sidecar(path: Path, **changes: object) -> None:
    sidecar = path.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | changes))


def test_sidecar_describes_the_array(path: Path, tokenizer: Tokenizer) -> None:
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "format": "token-file",
        "version": 2,
        "dtype": "uint16",
        "num_tokens": 8,
        "vocab_size": 257,
        "tokenizer": tokenizer.fingerprint,
        "end_of_text_id": 256,
        "num_documents": 2,
        "num_bytes": 32,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "documents_sha256": hashlib.sha256(documents_path(path).read_bytes()).hexdigest(),
        "sources": ["text.txt"],
    }


def test_open_maps_the_ids(path: Path) -> None:
    token_file = TokenFile.open(path)
    assert isinstance(token_file.tokens, np.memmap)
    assert token_file.tokens.tolist() == [*b"one", 256, *b"two", 256]
    assert len(token_file) == 8
    with pytest.raises(ValueError, match="read-only"):
        token_file.tokens[0] = 1


@pytest.mark.parametrize("name", ["tokenizer.json", "text.json"])
def test_a_sidecar_replaces_no_other_file(tokenizer: Tokenizer, tmp_path: Path, name: str) -> None:
    other = tmp_path / name
    other.write_text('{"version": "1.0"}' if name == "tokenizer.json" else "plain text")
    content = other.read_bytes()
    with pytest.raises(ValueError, match=rf"{name} exists and is not the sidecar"):
        tokenizer.encode_file(other, other.with_suffix(".npy"))
    assert other.read_bytes() == content
    assert list(tmp_path.iterdir()) == [other]


def test_an_older_token_file_is_replaced(path: Path, tokenizer: Tokenizer) -> None:
    change_sidecar(path, version=0)
    tokenizer.encode_file(path.parent / "text.txt", path)
    TokenFile.open(path).check_hash()


def test_a_token_file_is_written_where_python_has_no_fcntl(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpe.formats.files.fcntl", None)  # as on Windows
    in_use = tmp_path / ".tokens.npy.0.part"
    in_use.touch()
    text = tmp_path / "text.txt"
    text.write_bytes(b"one")
    assert tokenizer.encode_file(text, tmp_path / "tokens.npy").tokens.tolist() == [*b"one"]
    assert in_use.exists() is (os.name != "nt"), "nobody can say whether it is in use"


def test_a_token_file_that_cannot_be_written_is_called_by_its_own_name(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "text.txt").write_text("text")
    for path in (tmp_path / "nowhere" / "x.npy", tmp_path / "folder.npy"):
        with pytest.raises(OSError, match="Errno") as error:
            tokenizer.encode_file(tmp_path / "text.txt", path)
        assert error.value.filename == str(path)


def test_documents_start_behind_end_of_text(path: Path) -> None:
    starts = TokenFile.open(path).document_starts()
    assert isinstance(starts, np.memmap)
    assert starts.tolist() == [0, 4]


@settings(deadline=None)
@given(
    files=st.lists(st.lists(st.sampled_from([1, 9]), max_size=8), max_size=4),
    block_size=st.integers(1, 9),
)
def test_documents_are_found_whatever_the_blocks(files: list[list[int]], block_size: int) -> None:
    documents = DocumentStarts(9)
    expected, place = [], 0
    for ids in files:
        for start in range(0, max(len(ids), 1), block_size):
            block = np.array(ids[start : start + block_size], np.uint16)
            documents.add(block, starts_file=start == 0)
        before = [9, *ids]
        expected += [place + i for i, token in enumerate(ids) if token != 9 and before[i] == 9]
        place += len(ids)
    assert documents.starts().tolist() == expected


def test_starts_of_other_documents_are_refused(path: Path) -> None:
    np.save(documents_path(path), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match=r"shape \(3,\), but tokens.json states 2 documents"):
        TokenFile.open(path).document_starts()
    with pytest.raises(ValueError, match=r"documents\.npy has SHA-256"):
        TokenFile.open(path).check_hash()
    documents_path(path).write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"not a complete \.npy file"):
        TokenFile.open(path).document_starts()


@pytest.mark.parametrize("suffix", [".npy", ".json", ".documents.npy"])
def test_a_missing_part_is_named(path: Path, suffix: str) -> None:
    path.with_suffix(suffix).unlink()
    with pytest.raises(FileNotFoundError, match=rf"tokens\{suffix} is missing"):
        TokenFile.open(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_tokens": 9}, "states 9 ids of uint16"),
        ({"dtype": "uint32"}, "states 8 ids of uint32"),
        ({"dtype": "float32"}, "float32"),
        ({"format": "other"}, "'other', version 2, but"),
        ({"version": 1}, "version 1, but .* version 2"),
        ({"unknown": 2}, "not the sidecar"),
        ({"sources": None}, "not the sidecar"),
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused(
    path: Path, changes: dict[str, object], message: str
) -> None:
    change_sidecar(path, **changes)
    with pytest.raises(ValueError, match=message):
        TokenFile.open(path)


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", "{"])
def test_a_malformed_sidecar_is_refused(path: Path, content: str) -> None:
    path.with_suffix(".json").write_text(content)
    with pytest.raises(ValueError, match=r"tokens\.json is not the sidecar"):
        TokenFile.open(path)


@pytest.mark.parametrize("num_bytes", [0, 5, 100, 130])
def test_a_cut_array_is_refused(path: Path, num_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(ValueError, match=r"tokens\.npy"):
        TokenFile.open(path)


def test_another_tokenizer_is_refused_by_both_fingerprints(
    path: Path, tokenizer: Tokenizer
) -> None:
    token_file = TokenFile.open(path)
    token_file.check_tokenizer(tokenizer.fingerprint)
    with pytest.raises(ValueError, match=f"{tokenizer.fingerprint}.*abc"):
        token_file.check_tokenizer("abc")


def test_ids_outside_the_vocabulary_are_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizer.files.token_file._BLOCK_TOKENS", 3)
    TokenFile.open(path).check_ids()
    ids = np.load(path)
    ids[5] = 300
    np.save(path, ids)
    with pytest.raises(ValueError, match="id 300 at position 5 is outside the vocabulary of 257"):
        TokenFile.open(path).check_ids()


def test_a_changed_array_is_told_by_its_hash(path: Path) -> None:
    TokenFile.open(path).check_hash()
    np.save(path, np.load(path)[::-1])
    with pytest.raises(ValueError, match="has SHA-256"):
        TokenFile.open(path).check_hash()


def test_a_failure_leaves_the_old_file_and_nothing_else(path: Path, tokenizer: Tokenizer) -> None:
    before = path.read_bytes()
    names = sorted(item.name for item in path.parent.iterdir())
    (path.parent / "text.txt").write_bytes(b"good\xff")
    with pytest.raises(ValueError, match="byte 4"):
        tokenizer.encode_file(path.parent / "text.txt", path)
    assert path.read_bytes() == before
    assert sorted(item.name for item in path.parent.iterdir()) == names
    TokenFile.open(path).check_hash()


def test_the_header_has_room_for_any_length(tmp_path: Path) -> None:
    with TokenFileWriter(tmp_path / "x.npy", dtype=np.dtype(np.uint32)) as writer:
        for size in (1, 10, 100_000, 0):
            writer.append(np.arange(size))
        written = writer.commit(
            vocab_size=100_000,
            tokenizer="t",
            end_of_text_id=None,
            document_starts=np.zeros(1, np.int64),
            num_bytes=1,
            sources=(),
        )
    expected = np.concatenate([np.arange(size) for size in (1, 10, 100_000)])
    assert np.array_equal(np.load(tmp_path / "x.npy"), expected)
    assert written.tokens.dtype == np.uint32


def test_another_name_than_npy_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match=r"named \*\.npy"):
        tokenizer.encode_file(tmp_path / "a.txt", tmp_path / "a.bin")
