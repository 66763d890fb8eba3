"""Vocabularies survive a trip through the formats of other projects, or are refused."""

import argparse
import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken
import tiktoken.load
import tokenizers

from bpe import GPT2, PATTERNS, Vocabulary, train_bpe
from tokenizer import Tokenizer
from tokenizer.formats import (
    load_tiktoken,
    load_tokenizer_json,
    load_vocabulary,
    save_tiktoken,
    save_vocabulary,
)

END = "<|endoftext|>"
BYTES = {i: bytes([i]) for i in range(256)}


@pytest.fixture(scope="module", params=list(PATTERNS))
def vocabulary(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Vocabulary:
    corpus = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    corpus.write_text(Path(argparse.__file__).read_text("utf-8")[:30_000], "utf-8")
    tokens, merges = train_bpe(corpus, 500, [END], pattern=request.param, num_workers=1)
    return Vocabulary(tokens, merges, (END,), request.param)


def test_tokenizer_json_comes_back(vocabulary: Vocabulary, tmp_path: Path) -> None:
    save_vocabulary(vocabulary, tmp_path / "tokenizer.json")
    loaded = load_vocabulary(tmp_path / "tokenizer.json")
    assert loaded.fingerprint == vocabulary.fingerprint
    assert Tokenizer.load(tmp_path / "tokenizer.json").fingerprint == vocabulary.fingerprint


def test_a_file_that_huggingface_wrote_is_read(vocabulary: Vocabulary, tmp_path: Path) -> None:
    save_vocabulary(vocabulary, tmp_path / "ours.json")
    hugging = tokenizers.Tokenizer.from_file(str(tmp_path / "ours.json"))
    hugging.save(str(tmp_path / "theirs.json"))
    assert load_tokenizer_json(tmp_path / "theirs.json").fingerprint == vocabulary.fingerprint


def test_tiktoken_reads_our_ranks(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / "x.tiktoken"
    save_vocabulary(vocabulary, path)
    ranks = tiktoken.load.load_tiktoken_bpe(str(path))
    peer = tiktoken.Encoding(
        "x", pat_str=vocabulary.pattern, mergeable_ranks=ranks, special_tokens={END: 0}
    )
    text = Path(argparse.__file__).read_text("utf-8")[30_000:40_000] + END
    ids = Tokenizer.from_vocabulary(vocabulary).encode(text)
    assert peer.encode(text, allowed_special="all") == ids


def test_merges_come_back_from_ranks(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / "x.tiktoken"
    save_tiktoken(vocabulary, path)
    loaded = load_tiktoken(path, pattern=vocabulary.pattern, special_tokens={END: 0})
    assert loaded.merges == vocabulary.merges
    assert loaded.fingerprint == vocabulary.fingerprint


def test_tokenizer_directory_comes_back(vocabulary: Vocabulary, tmp_path: Path) -> None:
    save_vocabulary(vocabulary, tmp_path / "directory")
    assert load_vocabulary(tmp_path / "directory").fingerprint == vocabulary.fingerprint


def test_tiktoken_cannot_say_ids_that_do_not_ascend(tmp_path: Path) -> None:
    tokens = BYTES | {256: b"bc", 257: b"ab"}
    vocabulary = Vocabulary(tokens, [(b"a", b"b"), (b"b", b"c")])
    with pytest.raises(ValueError, match="do not ascend"):
        save_tiktoken(vocabulary, tmp_path / "x.tiktoken")


def test_tiktoken_cannot_say_a_missing_byte(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no token for 255 .* 0x00"):
        save_tiktoken(Vocabulary({0: b"a"}, []), tmp_path / "x.tiktoken")
    assert not (tmp_path / "x.tiktoken").exists()


def test_a_pattern_is_asked_for_where_the_file_has_none(tmp_path: Path) -> None:
    save_vocabulary(Vocabulary(BYTES, []), tmp_path / "x.tiktoken")
    with pytest.raises(ValueError, match="name a split pattern"):
        load_vocabulary(tmp_path / "x.tiktoken")
    assert load_vocabulary(tmp_path / "x.tiktoken", pattern="gpt2").tokens == BYTES
    save_vocabulary(Vocabulary(BYTES, []), tmp_path / "x.json")
    with pytest.raises(ValueError, match="leave out the split pattern"):
        load_vocabulary(tmp_path / "x.json", pattern="gpt2")


@pytest.mark.parametrize("line", [b"YQ==", b"YQ== x", b"Y 1", b"\xff 1", b"YQ== 1 2"])
def test_a_malformed_rank_is_refused_by_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "x.tiktoken"
    path.write_bytes(b"Yg== 0\n" + line)
    with pytest.raises(ValueError, match=r"x\.tiktoken, line 2: "):
        load_tiktoken(path, pattern="gpt2")


def test_a_rank_that_no_merge_makes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tiktoken"
    tokens = [*BYTES.values(), b"abc"]
    path.write_bytes(b"".join(b64encode(t) + b" %d\n" % i for i, t in enumerate(tokens)))
    with pytest.raises(ValueError, match=r"b'abc' \(id 256\) is made by no merge"):
        load_tiktoken(path, pattern="gpt2")


def test_an_id_for_two_tokens_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tiktoken"
    path.write_bytes(b"YQ== 0\nYg== 1\n")
    with pytest.raises(ValueError, match="two tokens"):
        load_tiktoken(path, pattern="gpt2", special_tokens={END: 1})
    path.write_bytes(b"YQ== 0\nYg== 0\n")
    with pytest.raises(ValueError, match="two tokens"):
        load_tiktoken(path, pattern="gpt2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x["model"].update(type="WordPiece"), "WordPiece"),
        (lambda x: x["model"].update(ignore_merges=True), "ignore_merges"),
        (lambda x: x["model"].update(end_of_word_suffix="</w>"), "end_of_word_suffix"),
        (lambda x: x.update(normalizer={"type": "NFC"}), "normalizer"),
        (lambda x: x.update(post_processor={"type": "TemplateProcessing"}), "TemplateProcessing"),
        (lambda x: x.update(pre_tokenizer={"type": "Whitespace"}), "Whitespace"),
        (lambda x: x["pre_tokenizer"].update(add_prefix_space=True), "ByteLevel"),
        (lambda x: x["added_tokens"][0].update(lstrip=True), "lstrip"),
        (lambda x: x.pop("model"), "lacks 'model'"),
        (lambda x: x["model"].update(merges=[["a", "zzz"]]), "zzz"),
        (lambda x: x["model"].update(merges=["a"]), "cannot be used"),
    ],
)
def test_what_would_change_ids_is_refused(
    tmp_path: Path, change: Callable[[dict], object], message: str
) -> None:
    path = tmp_path / "tokenizer.json"
    save_vocabulary(Vocabulary(BYTES | {256: END.encode()}, [], (END,), GPT2), path)
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=message):
        load_tokenizer_json(path)


def test_older_merges_as_one_string_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    vocabulary = Vocabulary(BYTES | {256: b" a"}, [(b" ", b"a")])
    save_vocabulary(vocabulary, path)
    content = json.loads(path.read_text("utf-8"))
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    path.write_text(json.dumps(content), "utf-8")
    assert load_tokenizer_json(path).fingerprint == vocabulary.fingerprint
