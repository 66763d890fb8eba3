"""Counts as objects and as files: adding up, pruning, saving; and whatever is wrong with them."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import bpe
from bpe.counting.corpus import ROUND_PIECES
from bpe.counts import PretokenCounts
from bpe.formats.counts_file import is_counts_file
from bpe.packed_counts import Dropped
from bpe.reference import count_reference

COUNTS = st.dictionaries(st.binary(min_size=1, max_size=5), st.integers(1, 2**61), max_size=20)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(COUNTS)
def test_saved_counts_come_back(tmp_path: Path, by_pretoken: dict[bytes, int]) -> None:
    counts = PretokenCounts(by_pretoken, bpe.CountSettings(bpe.CL100K, ("<a>", "\u00e9")))
    counts.save(tmp_path / "counts")
    loaded = PretokenCounts.load(tmp_path / "counts")
    assert loaded == counts and loaded.by_pretoken == by_pretoken
    assert loaded.settings == counts.settings


def test_order_shows_neither_in_equality_nor_in_files(tmp_path: Path) -> None:
    one = PretokenCounts({b"low": 1, b"a": 2, b"lower": 3})
    other = PretokenCounts({b"lower": 3, b"low": 1, b"a": 2})
    one.save(tmp_path / "one")
    other.save(tmp_path / "other")
    assert one == other
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert one != PretokenCounts({b"low": 1, b"a": 2, b"lower": 4})
    assert one != PretokenCounts(one.by_pretoken, bpe.CountSettings(bpe.GPT2))


def test_files_are_safetensors(tmp_path: Path) -> None:
    PretokenCounts({b"low": 2, b"a": 2**40}).save(tmp_path / "counts")
    arrays = load_file(tmp_path / "counts")
    assert arrays["bytes"].tobytes() == b"alow"
    assert arrays["lengths"].tolist() == [1, 3] and arrays["counts"].tolist() == [2**40, 2]
    assert is_counts_file(tmp_path / "counts")
    (tmp_path / "text").write_text("low lower lowest and so on, for a while")
    assert not is_counts_file(tmp_path / "text")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "damaged (the checksum does not match)"),
        (lambda content: content[:-1] + b"x", "damaged (the checksum does not match)"),
        (lambda content: content[:40], "not a file of pretoken counts"),
        (lambda content: b"", "not a file of pretoken counts"),
        (lambda content: b"\xff" * 8 + content[8:], "not a file of pretoken counts"),
        (lambda content: b"text " * 100, "not a file of pretoken counts"),
        (lambda content: b"\x02" + b"\0" * 7 + b"{}", "not a file of pretoken counts"),
        (lambda content: b"\x02" + b"\0" * 7 + b"[]", "not a file of pretoken counts"),
        (lambda content: content.replace(b'"version": "1"', b'"version": "2"'), "and 2, but this"),
        (lambda content: content.replace(b"pretoken-counts", b"pretoken_counts"), "format and"),
        (lambda content: content.replace(b"data_offsets", b"data-offsets"), "damaged"),
        (lambda content: content.replace(b'"I64"', b'"F64"'), "damaged (the array 'counts'"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, damage: object, message: str) -> None:
    path = tmp_path / "counts"
    PretokenCounts({b"low": 2, b"lower": 1}).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError) as error:
        PretokenCounts.load(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    PretokenCounts({b"low": 2}).save(path)
    content = path.read_bytes()
    header_bytes = 8 + int.from_bytes(content[:8], "little")
    body = content[header_bytes:].replace(b"\x03", b"\x02")  # the length
    checksums = [hashlib.sha256(b).hexdigest().encode() for b in (content[header_bytes:], body)]
    path.write_bytes(content[:header_bytes].replace(*checksums) + body)
    with pytest.raises(ValueError, match=r"damaged \(the arrays do not fit together"):
        PretokenCounts.load(path)


def test_failed_save_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = PretokenCounts({b"low": 2}), PretokenCounts({b"low": 3})
    old.save(tmp_path / "counts")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        new.save(tmp_path / "counts")
    assert PretokenCounts.load(tmp_path / "counts") == old
    assert [path.name for path in tmp_path.iterdir()] == ["counts"]


def test_counts_of_parts_merge_to_those_of_the_whole(tmp_path: Path) -> None:
    texts = ["low lower<a>", "newest widest 'll<a>", "lowest <a> low"]
    for number, text in enumerate(texts):
        bpe.count_documents([text], ["<a>"]).save(tmp_path / str(number))
    parts = [PretokenCounts.load(tmp_path / str(number)) for number in range(3)]
    whole = bpe.count_documents(["".join(texts)], ["<a>"])
    assert PretokenCounts.merge(parts) == PretokenCounts.merge(reversed(parts)) == whole
    assert (parts[0] + parts[1]) + parts[2] == parts[0] + (parts[1] + parts[2])


def test_merging_nothing_gives_nothing() -> None:
    assert PretokenCounts.merge([]) == PretokenCounts()
    known = bpe.count_documents(["low"])
    assert PretokenCounts() + known == known + PretokenCounts() == known


@pytest.mark.parametrize("change", [{"pattern": "cl100k"}, {"special_tokens": ["<b>"]}])
def test_counts_of_texts_cut_differently_do_not_merge(change: dict[str, object]) -> None:
    one = bpe.count_documents(["low"], ["<a>"])
    other = bpe.count_documents(["low"], **({"special_tokens": ["<a>"]} | change))
    with pytest.raises(ValueError, match=r"cannot be added up") as error:
        one + other
    (name,) = change
    assert name in str(error.value)
    assert "unicode_version" not in str(error.value)
    assert ("pattern" in str(error.value)) == (name == "pattern")


def test_known_patterns_are_told_apart_by_name() -> None:
    one, other = (bpe.count_documents(["low"], pattern=name) for name in ("gpt2", "o200k"))
    with pytest.raises(ValueError, match="made with pattern 'gpt2' and with pattern 'o200k'"):
        one + other


def test_counts_of_unknown_origin_merge_with_any() -> None:
    known = bpe.count_documents(["low"], ["<a>"])
    assert (known + PretokenCounts({b"low": 1})).settings is None


def test_sums_beyond_64_bits_are_refused() -> None:
    half = PretokenCounts({b"low": 2**62})
    assert (half + PretokenCounts({b"low": 2**62 - 1})).by_pretoken == {b"low": 2**63 - 1}
    with pytest.raises(ValueError, match=r"b'low' occurs 9223372036854775808 times; counts end"):
        half + half


def test_totals_exceed_64_bits() -> None:
    counts = PretokenCounts({b"lower": 2**62, b"a": 2**62, b"bc": 2**62})
    assert (counts.num_pretokens, counts.num_bytes) == (3 * 2**62, 8 * 2**62)


def test_vocabulary_has_the_settings_of_its_counts() -> None:
    counts = bpe.count_documents(["low lower"], ["<b>", "<a>"], pattern="cl100k")
    vocabulary = bpe.vocabulary_from_counts(counts, 260)
    assert (vocabulary.special_tokens, vocabulary.pattern) == (("<b>", "<a>"), bpe.CL100K)
    reordered = bpe.vocabulary_from_counts(counts, 260, ["<a>", "<b>"], pattern="cl100k")
    assert bpe.vocabulary_from_counts(counts, 260, ["<a>", "<pad>", "<b>"]).ids[b"<pad>"] == 1
    assert reordered.special_tokens == ("<a>", "<b>") and reordered.merges == vocabulary.merges
    for options in ({"special_tokens": ["<a>"]}, {"pattern": "gpt2"}, {"special_tokens": []}):
        with pytest.raises(ValueError, match="the counts were made with the pattern"):
            bpe.vocabulary_from_counts(counts, 260, **options)


@given(COUNTS, st.integers(1, 20))
def test_pruning_drops_the_rarest(by_pretoken: dict[bytes, int], max_pretokens: int) -> None:
    counts = PretokenCounts({pretoken: 1 + n % 4 for pretoken, n in by_pretoken.items()})
    by_rule = sorted(counts.by_pretoken.items(), key=lambda kind: (-kind[1], len(kind[0]), kind[0]))
    pruned = counts.pruned(max_pretokens)
    assert pruned.by_pretoken == dict(by_rule[:max_pretokens])
    lost = by_rule[max_pretokens:]
    assert pruned.dropped == Dropped(len(lost), sum(count for _, count in lost))


@pytest.mark.parametrize("is_compiled", [False, True])
def test_pruning_bounds_the_kinds_whatever_the_workers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_compiled: bool,
) -> None:
    monkeypatch.setattr("bpe.pieces.cut_files.__kwdefaults__", {"piece_bytes": 100})
    if is_compiled:
        monkeypatch.setattr("bpe.counting.corpus._SMALL_BYTES", 0)
        monkeypatch.setattr("bpe.counting.corpus._BYTES_WORTH_COMPILING", 0)
    text = "".join(f"common words, number {i} and {i * 7919 % 1000} " for i in range(2000))
    (tmp_path / "corpus").write_text(text)
    results = [
        bpe.count_pretokens(tmp_path / "corpus", num_workers=n, max_pretokens=50) for n in (1, 2, 3)
    ]
    assert results[0] == results[1] == results[2] and len(results[0]) == 50
    everything = count_reference(text)
    assert len(text) > 3 * 100 * ROUND_PIECES and len(everything) > 1000
    assert results[0].by_pretoken[b" common"] == 1999
    assert results[0].num_pretokens + results[0].dropped.num_pretokens == everything.total()
    assert "to keep 50 kinds of pretokens" in caplog.text


def test_bound_that_is_not_reached_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_text("low lower low")
    counts = bpe.count_pretokens(tmp_path / "corpus", max_pretokens=3)
    assert counts == bpe.count_pretokens(tmp_path / "corpus") and counts.dropped == (0, 0)
    with pytest.raises(ValueError, match="max_pretokens is 0"):
        bpe.count_pretokens(tmp_path / "corpus", max_pretokens=0)


def test_dropped_counts_are_saved_and_added_up(tmp_path: Path) -> None:
    pruned = PretokenCounts({b"a": 3, b"b": 1, b"c": 1}).pruned(1)
    pruned.save(tmp_path / "counts")
    loaded = PretokenCounts.load(tmp_path / "counts")
    assert loaded.dropped == (2, 2)
    assert (loaded + pruned).dropped == (4, 4)
    header = (tmp_path / "counts").read_bytes()[8:].split(b'"counts"')[0]
    assert json.dumps([2, 2]).encode() in header
