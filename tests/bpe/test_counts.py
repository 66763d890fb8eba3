"""Counting: pieces, workers and files may be cut anywhere, the counts stay the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bpe
from bpe.counting.corpus import _choose_num_workers
from bpe.counting.cpus import check_num_threads, usable_cpus
from bpe.counting.workers import _Worker, count_in_workers
from bpe.pieces import Piece, cut_files
from bpe.reference import count_reference

NO_SCANNER = bpe.GPT2 + "|x"  # the same pretokens, but by the `regex` module
SPECIAL = ("<a>", "<a><a>", "a b", " <", "aa")
TEXTS = st.lists(st.sampled_from([*SPECIAL, *"ab <>'1!\n\u00e9\u6e2c\u3000"]), max_size=60).map(
    "".join
)


def count_pieces(
    path: Path, special: tuple[str, ...], pattern: str, size: int
) -> bpe.PretokenCounts:
    pieces = cut_files([path], special, cut_at_spaces=pattern in bpe.PATTERNS, piece_bytes=size)
    total = bpe.PretokenCounts()
    for piece in pieces:
        total += bpe.count_documents([piece.read_text()], special, pattern=pattern)
    return total


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=TEXTS,
    num_special=st.integers(0, len(SPECIAL)),
    pattern=st.sampled_from([*bpe.PATTERNS, r"\p{L}+ ?|\d"]),
    size=st.integers(1, 12),
)
def test_cuts_never_change_the_counts(
    tmp_path: Path, text: str, num_special: int, pattern: str, size: int
) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(text.encode())
    special = SPECIAL[:num_special]
    counts = count_pieces(path, special, pattern, size)
    assert counts.by_pretoken == count_reference(text, special, pattern=pattern)


def test_no_special_token_is_cut_in_two(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(b"x ya by zzz")  # cut at spaces and in front of "a b", not within it
    pieces = cut_files([path], ("a b",), cut_at_spaces=True, piece_bytes=1)
    assert [piece.read_text() for piece in pieces] == ["x", " y", "a by", " zzz"]


def test_pieces_cover_a_file_and_are_about_as_long_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(b"some words and \xc3\xa9t\xc3\xa9, " * 20_000)
    pieces = list(cut_files([path], cut_at_spaces=True, piece_bytes=10_000))
    assert [piece.start_byte for piece in pieces[1:]] == [piece.end_byte for piece in pieces[:-1]]
    assert (pieces[0].start_byte, pieces[-1].end_byte) == (0, path.stat().st_size)
    assert all(10_000 <= piece.num_bytes < 10_020 for piece in pieces[:-1])


def test_border_behind_a_long_stretch_without_any_is_found(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    for length in (1 << 16, (1 << 16) + 1, 200_000):
        path.write_bytes(b"x" * length + b" y")
        ends = [piece.end_byte for piece in cut_files([path], cut_at_spaces=True, piece_bytes=10)]
        assert ends == [length, length + 2]


def workers_count(pieces: list[Piece], num_workers: int = 2) -> dict[bytes, int]:
    settings = bpe.CountSettings(bpe.GPT2, ("<a>",))
    return count_in_workers(
        iter(pieces), settings=settings, num_workers=num_workers, report=lambda num_bytes: None
    )


def test_workers_count_what_one_process_counts(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    text = "low lower<a> caf\u00e9 \u6e2c\u8a66\n" * 500
    path.write_bytes(text.encode())
    pieces = list(cut_files([path, path], ("<a>",), cut_at_spaces=True, piece_bytes=1000))
    assert workers_count(pieces) == count_reference(text + "<a>" + text, ["<a>"])


def test_workers_report_the_first_bad_byte(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(b"abcdefgh \xff" * 100)
    pieces = [Piece(path, start, start + 100) for start in range(0, 1000, 100)]
    with pytest.raises(ValueError, match=r"corpus: byte 9 \(0xff\)"):
        workers_count(pieces)
    with pytest.raises(OSError, match="nowhere"):
        workers_count([Piece(tmp_path / "nowhere", 0, 1)])


def test_workers_need_no_main_guard(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_bytes(b"low lower lowest \n" * 300_000)
    (tmp_path / "script.py").write_text(
        "import bpe, logging\n"
        "logging.getLogger('bpe').setLevel('ERROR')\n"  # that regex is slower
        f"counts = bpe.count_pretokens('corpus', pattern={NO_SCANNER!r}, num_workers=2)\n"
        "print(counts.num_bytes, len(counts))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "script.py"], cwd=tmp_path, capture_output=True, check=False
    )
    assert (result.stdout.split(), result.stderr) == ([b"5400000", b"6"], b"")


def test_workers_end_quietly_with_the_process_that_started_them(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_bytes(b"low lower lowest \n" * 300_000)
    program = (
        "import bpe, logging; logging.getLogger('bpe').setLevel('ERROR'); bpe.count_pretokens("
        f"['corpus'] * 99, pattern={NO_SCANNER!r}, num_workers=2, progress=print)"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline().startswith(b"0 ")
    assert process.stdout.readline()  # the workers are at it
    process.kill()
    assert process.communicate(timeout=30)[1] == b""  # so all who held the pipe have ended


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
def test_ctrl_c_reaches_no_worker() -> None:
    with _Worker(bpe.CountSettings(bpe.GPT2)) as worker:
        assert os.getpgid(worker._process.pid) != os.getpgid(0)


def test_worker_that_dies_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpe.counting.workers._BOOTSTRAP", "raise SystemExit(3)")
    (tmp_path / "corpus").write_text("low")
    with pytest.raises(OSError, match="a counting process ended with status 3"):
        workers_count([Piece(tmp_path / "corpus", 0, 3)])


def test_progress_ends_at_the_size_of_all_files(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(b"low lower lowest \n" * 130_000)
    for num_workers in (1, 2):
        seen: list[tuple[int, int]] = []
        bpe.count_pretokens(
            [path, path], num_workers=num_workers, progress=lambda *a, s=seen: s.append(a)
        )
        total = 2 * path.stat().st_size
        assert seen[0] == (0, total) and seen[-1] == (total, total)
        assert seen == sorted(seen) and len(seen) > 4


def test_small_corpora_start_no_process() -> None:
    assert _choose_num_workers(8, 1 << 20) == 1
    assert _choose_num_workers(8, 1 << 30) == 8
    assert check_num_threads(None, name="num_workers") == usable_cpus()


def test_invalid_utf8_is_named_by_its_offset_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(b"word " * 500_000 + b"\xc3( " + b"word " * 10)
    with pytest.raises(ValueError, match=r"byte 2500000 \(0xc3\) is not UTF-8"):
        bpe.count_pretokens(path)


def test_empty_files_count_as_long_as_one_has_text(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_text("low")
    counts = bpe.count_pretokens([tmp_path / "empty", tmp_path / "full"])
    assert counts.by_pretoken == {b"low": 1}
    with pytest.raises(ValueError, match="corpus is empty"):
        bpe.count_pretokens([tmp_path / "empty"])
    with pytest.raises(ValueError, match="no file"):
        bpe.count_pretokens([])


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a directory"):
        bpe.count_pretokens(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe or a device"):
        bpe.count_pretokens(tmp_path / "pipe")


@pytest.mark.parametrize("special", [["<a>", "<a>"], [""], ["\n"], "<a>", ["a\ud800"]])
def test_senseless_special_tokens_are_refused(special: list[str]) -> None:
    with pytest.raises(ValueError, match="special"):
        bpe.count_documents(["low"], special)


def test_lone_surrogate_is_named_by_document_and_index() -> None:
    with pytest.raises(ValueError, match="document 1 contains a lone surrogate at index 2"):
        bpe.count_documents(["fine", "ab\udc80"])


def test_num_workers_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_text("low")
    with pytest.raises(ValueError, match="num_workers is 0"):
        bpe.count_pretokens(tmp_path / "corpus", num_workers=0)


def test_counts_add_up_and_refuse_nonsense() -> None:
    one, other = bpe.count_documents(["low low"]), bpe.count_documents(["low er"])
    assert (one + other).by_pretoken == {b"low": 2, b" low": 1, b" er": 1}
    assert one.by_pretoken == {b"low": 1, b" low": 1}
    assert ((one + other).num_pretokens, (one + other).num_bytes, len(one + other)) == (4, 13, 3)
    for bad in ({b"low": 0}, {b"": 1}):
        with pytest.raises(ValueError, match="occurs"):
            bpe.PretokenCounts(bad)
