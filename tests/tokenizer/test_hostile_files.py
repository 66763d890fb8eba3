"""Files that fuzzing found: each is refused by name, with little memory."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from bpe import PretokenCounts, count_documents
from tokenizer import TokenFile, Tokenizer
from tokenizer.formats import load_tiktoken, save_vocabulary

DEEP = "[" * 100_000
ENDS = "<|endoftext|>"
TOKENIZER = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")], [ENDS])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of each kind."""
    folder = tmp_path / "in"
    TOKENIZER.save(folder)
    (folder / "text").write_text(f"ab ab{ENDS}a")
    TOKENIZER.encode_file(folder / "text", folder / "ids.npy")
    save_vocabulary(TOKENIZER.vocabulary, folder / "a.tiktoken")
    count_documents(["ab"]).save(folder / "a.counts")
    return folder


READERS: dict[str, Callable[[Path], object]] = {
    "bpe.json": Tokenizer.load,
    "vocab.json": Tokenizer.load,
    "merges.txt": Tokenizer.load,
    "tokenizer.json": lambda folder: Tokenizer.load(folder / "tokenizer.json"),
    "a.tiktoken": lambda folder: load_tiktoken(folder / "a.tiktoken", pattern="gpt2"),
    "a.counts": lambda folder: PretokenCounts.load(folder / "a.counts"),
    "ids.npy": lambda folder: TokenFile.open(folder / "ids.npy"),
    "ids.json": lambda folder: TokenFile.open(folder / "ids.npy"),
    "ids.documents.npy": lambda folder: TokenFile.open(folder / "ids.npy").document_starts(),
}
CONTENTS = {
    "deep": DEEP.encode(),
    "deep objects": b'{"a":' * 50_000,
    "digits": b'{"a": ' + b"1" * 5000 + b"}",
    "twice": b'{"a": 1, "a": 1}',
    "deep header": len(DEEP).to_bytes(8, "little") + DEEP.encode(),
    "no UTF-8": b"\xff\xfe",
    "nothing": b"",
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", READERS)
def test_any_content_is_refused_by_name(folder: Path, name: str, content: str) -> None:
    READERS[name](folder)
    (folder / name).write_bytes(CONTENTS[content])
    with pytest.raises(ValueError, match=rf"{folder}"):
        READERS[name](folder)


HEADERS = [
    "{'descr': '|O', 'fortran_order': False, 'shape': (6,), }",
    "{'descr': '<U9999999', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (((((",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (" + "9" * 40 + ",), }",
    "-" * 9000 + "1",
    "__import__('os').system('true')",
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("name", ["ids.npy", "ids.documents.npy"])
def test_a_header_that_lies_is_refused_in_little_memory(
    folder: Path, name: str, header: str
) -> None:
    text = header.encode() + b"\n"
    valid = (folder / name).read_bytes()
    (folder / name).write_bytes(valid[:8] + len(text).to_bytes(2, "little") + text + valid[128:])
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"is not a complete \.npy file"):
        READERS[name](folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("name", ["num_tokens", "vocab_size", "end_of_text_id", "sources", "x"])
@pytest.mark.parametrize("value", ["1", -1, 1.0, True, [1], {}])
def test_a_sidecar_with_a_value_of_another_kind_is_refused(
    folder: Path, name: str, value: object
) -> None:
    path = folder / "ids.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=rf"{path} is not the sidecar .* {name}"):
        TokenFile.open(folder / "ids.npy")


@pytest.mark.parametrize("name", ["bpe.json", "vocab.json", "merges.txt", "ids.json"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / "elsewhere")
    (folder / name).symlink_to("../elsewhere")
    with pytest.raises(ValueError, match=rf"{name} is a link to .*elsewhere, outside of"):
        READERS[name](folder)


def test_links_within_a_folder_and_to_a_folder_are_followed(folder: Path) -> None:
    (folder / "merges.txt").rename(folder / "kept")
    (folder / "merges.txt").symlink_to("kept")
    (folder.parent / "link").symlink_to(folder)
    assert Tokenizer.load(folder.parent / "link").fingerprint == TOKENIZER.fingerprint


def test_a_token_file_may_be_kept_on_another_disk(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "near").mkdir()
    for name in ("ids.npy", "ids.json", "ids.documents.npy"):
        (tmp_path / "near" / name).symlink_to(folder / name)
    assert TokenFile.open(tmp_path / "near" / "ids.npy").document_starts().tolist() == [0, 4]
