"""Compiled counting: whatever the text, the tables, the threads, the counts are the reference's."""

import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bpe
from bpe._kernels.counting import counter as counting
from bpe._kernels.counting.counter import PieceCounter, Tally, add_up
from bpe.counting.threads import count_in_threads
from bpe.counts import PretokenCounts
from bpe.packed_counts import CountSettings, Packed
from bpe.pieces import Piece, cut_files
from bpe.reference import count_reference

SPECIAL = ("<a>", "<a><a>", "a b", " <", "aa")
PARTS = [*SPECIAL, *"ab <>'1!\n\u00e9\u6e2c\u3000", "\U0001f600", "word" * 4, "x" * 15, "y" * 40]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=60).map("".join)
PRETOKENS = st.dictionaries(
    st.binary(min_size=1, max_size=40) | st.sampled_from([b"a" * n for n in range(1, 70)]),
    st.integers(1, 2**40),
    max_size=60,
)


def count(
    path: Path, special: tuple[str, ...] = (), *, num_threads: int = 2, piece_bytes: int = 1 << 20
) -> dict[bytes, int]:
    pieces = cut_files([path], special, cut_at_spaces=True, piece_bytes=piece_bytes)
    packed = count_in_threads(
        pieces,
        settings=CountSettings(bpe.GPT2, special),
        num_threads=num_threads,
        report=lambda num_bytes: None,
    )
    return PretokenCounts.from_packed(packed).by_pretoken


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(TEXTS, st.integers(0, len(SPECIAL)), st.sampled_from([1, 5, 1 << 20]))
def test_threads_count_what_the_reference_counts(
    tmp_path: Path, text: str, num_special: int, piece_bytes: int
) -> None:
    (tmp_path / "corpus").write_bytes(text.encode())
    special = SPECIAL[:num_special]
    counted = count(tmp_path / "corpus", special, num_threads=1, piece_bytes=piece_bytes)
    assert counted == count_reference(text, special)


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_number_of_threads_changes_nothing(tmp_path: Path, num_threads: int) -> None:
    text = "".join(
        f"line {i * 7919 % 9973} of caf\u00e9<a> {'z' * (i % 50)}\n" for i in range(9000)
    )
    (tmp_path / "corpus").write_bytes(text.encode())
    counted = count(tmp_path / "corpus", ("<a>",), num_threads=num_threads, piece_bytes=10_000)
    assert counted == count_reference(text, ["<a>"])


def test_tables_grow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(counting, "FIRST_ENTRIES", 2 * counting.GROUP)
    monkeypatch.setattr(counting, "FIRST_LONG_ENTRIES", 2 * counting.GROUP)
    monkeypatch.setattr(counting, "FIRST_CONTENT_BYTES", 64)
    words = [f"{i:x}" * (1 + i % 5) for i in range(1, 9000)]
    text = " ".join([*words, *words[:100], "long" * 5000])
    (tmp_path / "corpus").write_bytes(text.encode())
    assert count(tmp_path / "corpus", num_threads=1) == count_reference(text)


@settings(deadline=None)
@given(st.lists(PRETOKENS, max_size=4))
def test_sums_of_counts_are_exact(parts: list[dict[bytes, int]]) -> None:
    expected: Counter[bytes] = Counter()
    for part in parts:
        expected.update(part)
    total = add_up(PretokenCounts(part).packed for part in parts)
    assert PretokenCounts.from_packed(total).by_pretoken == expected


def test_counts_beyond_32_bits_add_up() -> None:
    tally = Tally()
    for _ in range(3):
        tally.add(Packed(np.frombuffer(b"ab", np.uint8), np.array([2]), np.array([2**60])))
    assert tally.packed().counts.tolist() == [3 * 2**60]


def failing(tmp_path: Path, num_bad: int) -> list[Piece]:
    """Pieces of which the last `num_bad` are not UTF-8."""
    path = tmp_path / "corpus"
    good = 40 - num_bad
    path.write_bytes(b"word " * 200 * good + (b"abcdefgh \xff" * 100) * num_bad)
    return [Piece(path, start, start + 1000) for start in range(0, 40_000, 1000)]


@pytest.mark.parametrize("num_bad", [1, 2, 30])
def test_first_bad_byte_is_named_whatever_the_threads(tmp_path: Path, num_bad: int) -> None:
    place = (40 - num_bad) * 1000 + 9
    for _ in range(5):
        with pytest.raises(ValueError, match=rf"corpus: byte {place} \(0xff\) is not UTF-8"):
            count_in_threads(
                iter(failing(tmp_path, num_bad)),
                settings=CountSettings(bpe.GPT2),
                num_threads=8,
                report=lambda num_bytes: None,
            )


def test_file_that_vanishes_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        count_in_threads(
            iter([Piece(tmp_path / "nowhere", 0, 1)]),
            settings=CountSettings(bpe.GPT2),
            num_threads=2,
            report=lambda num_bytes: None,
        )


def test_interrupt_ends_all_threads(tmp_path: Path) -> None:
    def interrupt(num_bytes: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "corpus").write_bytes(b"low lower lowest \n" * 500_000)
    pieces = cut_files([tmp_path / "corpus"], cut_at_spaces=True, piece_bytes=1 << 12)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        count_in_threads(pieces, settings=CountSettings(bpe.GPT2), num_threads=3, report=interrupt)
    assert set(threading.enumerate()) <= before
    assert next(pieces)  # most of the file was not even looked at


@pytest.mark.parametrize("pattern", [*bpe.PATTERNS, "[a-z]+|.|\n"])
def test_every_pattern_counts_alike(tmp_path: Path, pattern: str) -> None:
    text = "We're CamelCase 12345 \u6e2c\u8a66\n\n  indented's/\r\n" * 50
    (tmp_path / "corpus").write_bytes(text.encode())
    counter = PieceCounter(CountSettings(bpe.resolve_pattern(pattern)))
    counter.count(Piece(tmp_path / "corpus", 0, len(text.encode())))
    counted = PretokenCounts.from_packed(counter.finish().packed()).by_pretoken
    assert counted == count_reference(text, pattern=pattern)


def test_large_corpus_is_counted_by_threads_with_one_line_about_compiling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpe.counting.corpus._SMALL_BYTES", 1000)
    monkeypatch.setattr("bpe.counting.corpus._BYTES_WORTH_COMPILING", 1000)
    monkeypatch.setattr("bpe.counting.corpus.count_in_workers", None)
    text = "low lower<a> lowest\n" * 10_000
    (tmp_path / "corpus").write_bytes(text.encode())
    counts = bpe.count_pretokens(tmp_path / "corpus", ["<a>"])
    assert counts == bpe.count_documents([text], ["<a>"])
    assert len(caplog.records) <= 2
