"""What the contract leaves open: copies, pickles, ids with holes, bounded memory."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

from tokenizer import Tokenizer

BYTES = {i: bytes([i]) for i in range(256)}


def test_a_tokenizer_survives_a_copy_to_another_process() -> None:
    tokenizer = Tokenizer(BYTES | {256: b"ab"}, [(b"a", b"b")], ["<s>"], pattern="cl100k")
    tokenizer.encode("fill the memory")
    for twin in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert twin.fingerprint == tokenizer.fingerprint
        assert twin.encode("ab<s>") == tokenizer.encode("ab<s>") == [256, 257]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizer.plain._MAX_REMEMBERED", 10)
    tokenizer = Tokenizer(BYTES, [])
    text = " ".join(f"w{letter}x" * 3 for letter in "abcdefghijklmnopqrstuvwxyz")
    assert tokenizer.decode(tokenizer.encode(text * 3)) == text * 3
    assert 0 < len(tokenizer._plain.remembered) <= 10


def test_long_pretokens_are_not_remembered() -> None:
    tokenizer = Tokenizer(BYTES, [])
    tokenizer.encode("x" * 65)
    assert not tokenizer._plain.remembered
    tokenizer.encode("x" * 64)
    assert len(tokenizer._plain.remembered) == 1


def test_vocab_size_counts_holes_between_ids() -> None:
    tokenizer = Tokenizer({5: b"a", 1000: b"b"}, [], ["<s>"])
    assert tokenizer.vocab_size == 1002
    assert tokenizer.encode("ab<s>") == [5, 1000, 1001]
    with pytest.raises(ValueError, match="id 6 at position 0"):
        tokenizer.decode([6])


@pytest.mark.parametrize(
    "ids", [(104, 105), iter([104, 105]), np.array([104, 105], np.uint16), b"hi", range(104, 106)]
)
def test_decode_takes_any_iterable_of_ids(ids: object) -> None:
    assert Tokenizer(BYTES, []).decode(ids) == "hi"


def test_malformed_bytes_merge_with_nothing() -> None:
    tokenizer = Tokenizer(BYTES | {256: b"\xc3\xa9", 257: b"\xff\xff"}, [(b"\xff", b"\xff")])
    assert tokenizer.encode_array(b"\xff\xffa").tolist() == [255, 255, 97]


def test_special_tokens_are_found_between_malformed_bytes() -> None:
    tokenizer = Tokenizer(BYTES, [], ["<s>"])
    assert tokenizer.encode_array(b"\xff<s>\xfe").tolist() == [255, 256, 254]


def test_special_tokens_cannot_be_changed_from_outside() -> None:
    tokenizer = Tokenizer(BYTES, [], ["<s>"])
    with pytest.raises(TypeError):
        tokenizer.special_tokens["<t>"] = 3
    assert tokenizer.end_of_text_id is None


def test_changing_the_vocabulary_that_was_passed_changes_nothing() -> None:
    vocab, merges = BYTES | {256: b"ab"}, [(b"a", b"b")]
    tokenizer = Tokenizer(vocab, merges)
    fingerprint = tokenizer.fingerprint
    vocab[97] = b"zz"
    merges.clear()
    assert tokenizer.decode(tokenizer.encode("ab a")) == "ab a"
    assert Tokenizer.from_vocabulary(tokenizer.vocabulary).fingerprint == fingerprint


def test_merges_and_vocabulary_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="b'ab'"):
        Tokenizer(BYTES, [(b"a", b"b")])


def test_files_of_gpt2_style_get_missing_special_tokens(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", ["<s>"])
    assert tokenizer.encode("ab<s>") == [0, 1, 2]
