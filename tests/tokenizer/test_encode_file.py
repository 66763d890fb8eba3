"""Files become token files: several at once, counted right, in constant memory."""

import tracemalloc
from pathlib import Path

import pytest

from tokenizer import TokenFile, Tokenizer

END = "<|endoftext|>"
BYTES = {i: bytes([i]) for i in range(256)}


@pytest.fixture
def tokenizer() -> Tokenizer:
    vocab = BYTES | {256: b"ab", 257: b"\r\n"}
    return Tokenizer(vocab, [(b"a", b"b"), (b"\r", b"\n")], [END])


def encode(tokenizer: Tokenizer, folder: Path, *texts: str) -> TokenFile:
    paths = [folder / f"{index}.txt" for index in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    return tokenizer.encode_file(paths, folder / "out.npy")


def test_nothing_merges_across_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    token_file = encode(tokenizer, tmp_path, "ab a", "b ab")
    assert token_file.tokens.tolist() == [256, 32, 97, 98, 32, 256]
    assert token_file.info.sources == ("0.txt", "1.txt")
    assert token_file.info.num_bytes == 8


def test_line_ends_are_kept(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert encode(tokenizer, tmp_path, "\r\n").tokens.tolist() == [257]


@pytest.mark.parametrize(
    ("texts", "num_documents"),
    [
        (["a"], 1),
        ([f"a{END}b"], 2),
        ([f"a{END}b{END}"], 2),
        ([f"{END}{END}a{END}{END}"], 1),
        ([END], 0),
        (["a", "b"], 2),
        ([f"a{END}", "b", "", f"{END}c"], 3),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_documents_are_counted(
    tokenizer: Tokenizer,
    tmp_path: Path,
    texts: list[str],
    num_documents: int,
    block_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tokenizer.stream._BLOCK_BYTES", block_bytes)
    monkeypatch.setattr("tokenizer.stream._BLOCK", 1)
    assert encode(tokenizer, tmp_path, *texts).info.num_documents == num_documents


def test_without_end_of_text_each_file_is_a_document(tmp_path: Path) -> None:
    assert encode(Tokenizer(BYTES, []), tmp_path, f"a{END}b", "c", "").info.num_documents == 2


def test_progress_ends_at_the_whole(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("some text " * 300_000)
    seen: list[tuple[int, int]] = []
    tokenizer.encode_file(path, tmp_path / "a.npy", progress=lambda *state: seen.append(state))
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == (3_000_000, 3_000_000)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    tokenizer = Tokenizer(BYTES, [])

    def peak_bytes(num_repeats: int) -> int:
        (tmp_path / "a.txt").write_text("some text " * num_repeats)
        tracemalloc.start()
        try:
            tokenizer.encode_file(tmp_path / "a.txt", tmp_path / "a.npy")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(400_000) < 1.2 * peak_bytes(200_000)


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_at_all_is_refused(tokenizer: Tokenizer, tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="nothing to encode"):
        encode(tokenizer, tmp_path, *texts)
    assert not (tmp_path / "out.npy").exists()


def test_a_missing_file_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        tokenizer.encode_file(tmp_path / "none.txt", tmp_path / "out.npy")
