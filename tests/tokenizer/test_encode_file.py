"""Files become token files: several at once, counted right, in constant memory."""

import gzip
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tokenizer import TokenFile, Tokenizer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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


@pytest.mark.parametrize("num_threads", [1, 2])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, num_threads: int) -> None:
    tokenizer = Tokenizer(BYTES, [])
    tokenizer.warm_up()

    def peak_bytes(num_repeats: int) -> int:
        (tmp_path / "a.txt").write_text("some text " * num_repeats)
        tracemalloc.start()
        try:
            tokenizer.encode_file(tmp_path / "a.txt", tmp_path / "a.npy", num_threads=num_threads)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(800_000)  # what is kept from call to call
    assert peak_bytes(1_600_000) < 1.2 * peak_bytes(800_000)


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_at_all_is_refused(tokenizer: Tokenizer, tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="nothing to encode"):
        encode(tokenizer, tmp_path, *texts)
    assert not (tmp_path / "out.npy").exists()


def test_a_missing_file_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        tokenizer.encode_file(tmp_path / "none.txt", tmp_path / "out.npy")


TEXTS = [f"one{END}two \u6d4b " * 200_000, "", f"three{END}"]


def test_threads_and_compression_do_not_show(tokenizer: Tokenizer, tmp_path: Path) -> None:
    expected = encode(tokenizer, tmp_path, *TEXTS)
    paths = [tmp_path / "0.txt.gz", tmp_path / "1.txt", tmp_path / "2.txt.zst"]
    paths[0].write_bytes(gzip.compress(TEXTS[0].encode(), 1))
    paths[1].write_text("")
    paths[2].write_bytes(zstd.compress(TEXTS[2].encode()))
    for num_threads in (1, 2, 5):
        seen: list[tuple[int, int]] = []
        found = tokenizer.encode_file(
            paths,
            tmp_path / "found.npy",
            num_threads=num_threads,
            progress=lambda *state, seen=seen: seen.append(state),
        )
        assert np.array_equal(found.tokens, expected.tokens)
        assert np.array_equal(found.document_starts(), expected.document_starts())
        assert found.info.num_bytes == expected.info.num_bytes
        assert seen == sorted(seen)
        assert seen[-1] == (sum(path.stat().st_size for path in paths),) * 2
        joined = tokenizer.encode_files_to_array(paths, num_threads=num_threads)
        assert np.array_equal(joined, expected.tokens)


@pytest.mark.parametrize("way", ["plain", "compiled"])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_the_first_malformed_byte_is_named(tmp_path: Path, way: str, num_threads: int) -> None:
    tokenizer = Tokenizer(BYTES, [], [END])
    if way == "compiled":
        tokenizer.warm_up()
    (tmp_path / "a.txt").write_bytes(
        b"fine " * 600_000 + b"\xe6\xb5" + b" fine" * 600_000 + b"\xff"
    )
    with pytest.raises(
        ValueError, match=r"a\.txt: byte 3000000 \(0xe6\) is not UTF-8 \(invalid cont"
    ):
        tokenizer.encode_file(tmp_path / "a.txt", tmp_path / "a.npy", num_threads=num_threads)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"text" + data])
def test_a_damaged_compressed_file_is_named(
    tokenizer: Tokenizer, tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    data = (gzip if suffix == ".gz" else zstd).compress(b"text " * 1000)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(damage(data))
    with pytest.raises(ValueError, match=rf"a\{suffix} is damaged or not a \{suffix} file"):
        tokenizer.encode_file(path, tmp_path / "a.npy")
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_fewer_than_one_thread_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="num_threads is 0"):
        tokenizer.encode_file(tmp_path / "a.txt", tmp_path / "a.npy", num_threads=0)
