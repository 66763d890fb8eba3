"""Vocabulary files: what is saved comes back, what is malformed is named."""

import json
import os
import stat
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import bpe
from bpe.byte_spelling import byte_to_unicode, spell, unspell
from bpe.formats.files import write_atomically

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs GPT-2's files beside the repository (../shared/data)"
)
END = "<|end of text|>"


@pytest.fixture(scope="module")
def vocabulary() -> bpe.Vocabulary:
    text = "low lower\n newest caf\u00e9 \u6e2c\u8a66 #version: 1 " * 5
    counts = bpe.count_documents([text], [END], pattern="cl100k")
    return bpe.vocabulary_from_counts(counts, 290, [END, "<pad>"])


@given(st.binary())
def test_unspell_inverts_spell(token: bytes) -> None:
    assert unspell(spell(token)) == token
    assert spell(token).isprintable() and " " not in spell(token)


def test_byte_spelling_is_gpt2s() -> None:
    table = byte_to_unicode()
    assert len(set(table.values())) == 256
    spelled = "".join(table[byte] for byte in b"\x00\n !~\x7f\xa0\xad\xff")
    assert spelled == "\u0100\u010a\u0120!~\u0121\u0142\u0143\u00ff"


def test_load_inverts_save(vocabulary: bpe.Vocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path / "a" / "b")
    loaded = bpe.Vocabulary.load(tmp_path / "a" / "b")
    assert loaded == vocabulary
    assert loaded.fingerprint == vocabulary.fingerprint
    names = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert names == {"bpe.json", "merges.txt", "tokenizer.json", "vocab.json"}


def test_header_records_format_pattern_and_unicode_version(
    vocabulary: bpe.Vocabulary, tmp_path: Path
) -> None:
    vocabulary.save(tmp_path)
    assert json.loads((tmp_path / "bpe.json").read_text()) == {
        "format": "bpe-vocabulary",
        "version": 2,
        "pattern": bpe.CL100K,
        "special_tokens": [END, "<pad>"],
        "unicode_version": "16.0.0",
        "num_tokens": 288,
        "num_merges": 30,
        "fingerprint": vocabulary.fingerprint,
    }


def test_fingerprint_changes_with_everything_that_decides_ids(vocabulary: bpe.Vocabulary) -> None:
    tokens, merges = vocabulary.tokens, vocabulary.merges
    swapped = {**tokens, 2: tokens[3], 3: tokens[2]}
    shuffled = dict(sorted(tokens.items(), key=lambda item: item[1]))
    variants = [
        bpe.Vocabulary(swapped, merges, (END, "<pad>"), "cl100k"),
        bpe.Vocabulary(tokens, merges[:-1], (END, "<pad>"), "cl100k"),
        bpe.Vocabulary(tokens, merges, (END,), "cl100k"),
        bpe.Vocabulary(tokens, merges, (END, "<pad>"), "gpt2"),
    ]
    assert len({v.fingerprint for v in [vocabulary, *variants]}) == 5
    same = bpe.Vocabulary(shuffled, merges, ("<pad>", END), bpe.CL100K)
    assert same.fingerprint == vocabulary.fingerprint


@needs_shared
def test_gpt2_files_load_and_survive_a_round_trip(tmp_path: Path) -> None:
    gpt2 = bpe.Vocabulary.from_files(
        SHARED / "gpt2_vocab.json", SHARED / "gpt2_merges.txt", ["<|endoftext|>"]
    )
    assert (len(gpt2), len(gpt2.merges)) == (50257, 50000)
    assert gpt2.ids[b" the"] == 262 and gpt2.tokens[50256] == b"<|endoftext|>"
    gpt2.save(tmp_path)
    assert bpe.Vocabulary.load(tmp_path) == gpt2
    hf = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert hf.encode("the cat<|endoftext|>\n").ids == [1169, 3797, 50256, 198]


@needs_shared
@pytest.mark.parametrize("num_merges", [0, 299, 49_999])
def test_gpt2_files_load_without_special_tokens_but_not_cut_off(
    tmp_path: Path, num_merges: int
) -> None:
    vocab, merges = SHARED / "gpt2_vocab.json", SHARED / "gpt2_merges.txt"
    assert len(bpe.Vocabulary.from_files(vocab, merges)) == 50257
    lines = merges.read_text("utf-8").split("\n")[:num_merges]  # no header
    (tmp_path / "cut.txt").write_text("\n".join(lines), "utf-8")
    with pytest.raises(ValueError, match=rf"cut\.txt, with .*: {num_merges:,} merges leave "):
        bpe.Vocabulary.from_files(vocab, tmp_path / "cut.txt")


@needs_shared
def test_cs336_files_load() -> None:
    reference = bpe.Vocabulary.from_files(
        SHARED / "cs336" / "train-bpe-reference-vocab.json",
        SHARED / "cs336" / "train-bpe-reference-merges.txt",
        ["<|endoftext|>", "<|other|>"],
    )
    assert reference.tokens[0] == b"<|endoftext|>"
    assert reference.tokens[500] == b"<|other|>"  # the file lacks it: appended


def write_pair(directory: Path, vocab: str, merges: str) -> tuple[Path, Path]:
    (directory / "vocab.json").write_text(vocab)
    (directory / "merges.txt").write_text(merges)
    return directory / "vocab.json", directory / "merges.txt"


def test_small_vocabulary_loads_with_or_without_header_and_last_line_end(tmp_path: Path) -> None:
    vocab = '{"a": 7, "b": 9, "ab": 3}'
    for merges in ("a b", "a b\n", "#version: 0.2\na b\n", "#version: 0.2\r\na b\r\n"):
        loaded = bpe.Vocabulary.from_files(*write_pair(tmp_path, vocab, merges), ["<s>"])
        assert loaded.merges == [(b"a", b"b")]
        assert loaded.tokens == {7: b"a", 9: b"b", 3: b"ab", 10: b"<s>"}


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        ('{"a": 0,\n "b" 1}', "", r"vocab\.json, line 2: not valid JSON"),
        ('["a"]', "", r"vocab\.json: contains a JSON list"),
        ('{"a": 0,\n"b": "1"}', "", r"vocab\.json, line 2: '1' is not a token id"),
        ('{"a": 0,\n"b": -1}', "", r"vocab\.json, line 2: -1 is not a token id"),
        ('{"a": 0,\n"b": true}', "", r"vocab\.json, line 2: True is not a token id"),
        ('{"a": 0,\n"b": 0}', "", r"vocab\.json, line 2: 'b' has id 0, like an earlier token"),
        ('{"a": 0,\n"a": 1}', "", r"vocab\.json, line 1: key 'a' appears more than once"),
        ('{"a": 0,\n"b c": 1}', "", r"line 2: token 'b c' contains ' ' \(U\+0020\)"),
        ('{"a": 0,\n"\u6e2c": 1}', "", r"line 2: token '\u6e2c' contains"),
        ('{"a": 0, "b": 1}', "a b\n", r"merges\.txt, line 1: merge 'a b' needs 'ab'"),
        ('{"a": 0, "aa": 1}', "#version: 0.2\na a\na c\n", r"merges\.txt, line 3: .* needs 'c'"),
        ('{"a": 0, "aa": 1}', "a a\n\na a\n", r"merges\.txt, line 2: '' is not a merge"),
        ('{"a": 0, "aa": 1}', "a a a\n", r"line 1: 'a a a' is not a merge"),
        ('{"a": 0, "aa": 1}', "a  a\n", r"line 1: 'a  a' is not a merge"),
    ],
)
def test_malformed_files_are_named_by_line(
    tmp_path: Path, vocab: str, merges: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bpe.Vocabulary.from_files(*write_pair(tmp_path, vocab, merges))


def test_file_that_is_not_utf8_is_named_by_line(tmp_path: Path) -> None:
    paths = write_pair(tmp_path, '{"a": 0}', "")
    paths[1].write_bytes(b"#version: 0.2\na \xff\n")
    with pytest.raises(ValueError, match=r"merges\.txt, line 2: byte 16 \(0xff\)"):
        bpe.Vocabulary.from_files(*paths)


@pytest.mark.parametrize(
    ("key", "value"), [("format", "gpt"), ("version", 3), ("unicode_version", "17.0.0")]
)
def test_other_formats_and_versions_are_refused(
    vocabulary: bpe.Vocabulary, tmp_path: Path, key: str, value: object
) -> None:
    vocabulary.save(tmp_path)
    header = json.loads((tmp_path / "bpe.json").read_text())
    (tmp_path / "bpe.json").write_text(json.dumps({**header, key: value}))
    with pytest.raises(ValueError, match=rf"bpe\.json: {key} is {value!r}"):
        bpe.Vocabulary.load(tmp_path)


def test_incomplete_directory_is_refused(vocabulary: bpe.Vocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path)
    (tmp_path / "bpe.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no complete vocabulary"):
        bpe.Vocabulary.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        bpe.Vocabulary.load(tmp_path / "nowhere")


def test_failed_save_leaves_no_vocabulary_that_loads(
    vocabulary: bpe.Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary.save(tmp_path)
    real = Path.replace

    def fail_at_merges(self: Path, target: Path) -> Path:
        if target.name == "merges.txt":
            raise OSError("disk full")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fail_at_merges)
    with pytest.raises(OSError, match="disk full"):
        vocabulary.save(tmp_path)
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(FileNotFoundError):
        bpe.Vocabulary.load(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_files_honour_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"content")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_file_that_cannot_be_written_is_called_by_its_own_name(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "file", tmp_path):
        with pytest.raises(OSError, match=r"^\[Errno") as error:
            write_atomically(path, b"content")
        assert error.value.filename == str(path)


@pytest.mark.parametrize(
    ("tokens", "merges", "special", "message"),
    [
        ({}, [], (), "the vocabulary is empty"),
        ({-1: b"a"}, [], (), "-1 is not a token id"),
        ({1 << 32: b"a"}, [], (), "4294967296 is not a token id"),
        ({"0": b"a"}, [], (), "'0' is not a token id"),
        ({0: b"a", 1: b"a"}, [], (), "ids 0 and 1 both stand for b'a'"),
        ({0: b"a"}, [], ("<s>",), "special token '<s>' has no id"),
        ({0: b"a", 1: b"b"}, [(b"a", b"b")], (), "merge 0 is b'a' .* b'ab' is not among"),
    ],
)
def test_inconsistent_vocabularies_are_refused(
    tokens: dict, merges: list, special: tuple, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bpe.Vocabulary(tokens, merges, special)


def test_special_token_spelled_like_another_token_is_refused_on_saving(tmp_path: Path) -> None:
    clash = bpe.Vocabulary({0: b" ", 1: "\u0120".encode()}, [], ("\u0120",))
    with pytest.raises(ValueError, match="ids 0 and 1 are both spelled"):
        clash.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()
