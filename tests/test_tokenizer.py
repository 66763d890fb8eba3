"""The tokenizer's contract: ids equal to those of its peers, and text that always comes back.

What needs the GPT-2 files skips without them; its twin trains a vocabulary here and runs anywhere.
"""

import argparse
import sys
import tracemalloc
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bpe import PATTERNS, train_bpe
from tokenizer import Tokenizer, reference

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
END = "<|endoftext|>"
SPECIALS = [END, "<|pad|>"]

HANDOUT_VOCAB = {
    0: b" ", 1: b"a", 2: b"c", 3: b"e", 4: b"h", 5: b"t",
    6: b"th", 7: b" c", 8: b" a", 9: b"the", 10: b" at",
}  # fmt: skip
HANDOUT_MERGES = [(b"t", b"h"), (b" ", b"c"), (b" ", b"a"), (b"th", b"e"), (b" a", b"t")]

# What splits text in unexpected ways: contractions, white space of many kinds, marks, titlecase
# and modifier letters, digits of other scripts, NUL, and special tokens whole and in part.
FRAGMENTS = [
    "'re", "'", "'S", "'\u017f", "\u2019s", "don't", " ", "  ", "\n", "\r\n", "\r", "\t", "\x0b",
    "\x0c", "\x1c", "\x85", "\xa0", "\u2028", "\u3000", "\u200b", "\u180e", "\ufeff", "\0", "\x7f",
    "a", " the", "ABC", "AbCd", "\u01c5", "\u02b0", "e\u0301", "\u0301", "\u00df", "\u0130",
    "\u0434\u0430", "\u6d4b\u8bd5", "\u0e01\u0e33", "\U0001f468\u200d\U0001f469", "\U0001f1e9",
    "1", "12345", "\u00b2", "\u0663", "\u216b", "/", "!?", "//\n", "#include", "_", "\ufffd",
    "\U0010fffd", END, END[:-1], "<|", "<|pad|>", "|>", "aaaaaaaa",
]  # fmt: skip
ASSIGNED = st.characters(exclude_categories=["Cs", "Cn"])
HOSTILE = st.lists(st.sampled_from(FRAGMENTS) | ASSIGNED, max_size=30).map("".join)


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    if not (DATA / "gpt2_vocab.json").exists():
        pytest.skip("needs the GPT-2 files of ../shared/data")
    return Tokenizer.from_files(DATA / "gpt2_vocab.json", DATA / "gpt2_merges.txt", [END])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python source and a little of everything else."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    source = Path(argparse.__file__).read_text("utf-8")[:60_000]
    path.write_text(source + END + "".join(FRAGMENTS) * 20, "utf-8", newline="")
    return path


@pytest.fixture(
    scope="module",
    params=[(pattern, way) for pattern in PATTERNS for way in ("plain", "compiled")],
    ids="-".join,
)
def trained(request: pytest.FixtureRequest, corpus: Path) -> Tokenizer:
    pattern, way = request.param
    vocab, merges = train_bpe(corpus, 600, SPECIALS, pattern=pattern, num_workers=1)
    tokenizer = Tokenizer(vocab, merges, SPECIALS, pattern=pattern)
    if way == "compiled":
        tokenizer.warm_up()
    return tokenizer


def as_tiktoken(tokenizer: Tokenizer) -> tiktoken.Encoding:
    specials = dict(tokenizer.special_tokens)
    ranks = {token: i for i, token in tokenizer.vocabulary.tokens.items()}
    return tiktoken.Encoding(
        "trained",
        pat_str=tokenizer.vocabulary.pattern,
        mergeable_ranks={t: i for t, i in ranks.items() if i not in specials.values()},
        special_tokens=specials,
    )


def as_huggingface(tokenizer: Tokenizer, directory: Path) -> tokenizers.Tokenizer:
    tokenizer.save(directory)
    return tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))


@pytest.fixture(scope="module")
def peers(
    trained: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tiktoken.Encoding, tokenizers.Tokenizer]:
    return as_tiktoken(trained), as_huggingface(trained, tmp_path_factory.mktemp("hf"))


def assert_equal_to_peers(
    tokenizer: Tokenizer, peers: tuple[tiktoken.Encoding, tokenizers.Tokenizer], text: str
) -> None:
    ids = tokenizer.encode(text)
    assert ids == peers[0].encode(text, allowed_special="all")
    assert ids == peers[1].encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids) == text


def test_handout_example() -> None:
    tokenizer = Tokenizer(HANDOUT_VOCAB, HANDOUT_MERGES)
    assert tokenizer.encode("the cat ate") == [9, 7, 1, 5, 10, 3]
    assert tokenizer.decode([9, 7, 1, 5, 10, 3]) == "the cat ate"


@settings(max_examples=300, deadline=None)
@given(text=HOSTILE)
def test_trained_vocabulary_gives_the_ids_of_tiktoken_and_huggingface(
    trained: Tokenizer, peers: tuple[tiktoken.Encoding, tokenizers.Tokenizer], text: str
) -> None:
    assert_equal_to_peers(trained, peers, text)


def test_trained_vocabulary_gives_the_ids_of_its_peers_on_all_kinds_of_characters(
    trained: Tokenizer, peers: tuple[tiktoken.Encoding, tokenizers.Tokenizer]
) -> None:
    """Every assigned character but, of the large uniform blocks of letters, a sample."""
    letters = [*range(0x3400, 0xA000), *range(0xAC00, 0xD7A4), *range(0x17000, 0x40000)]
    left_out = set(letters) - set(letters[::100])
    private_or_none = {"Cs", "Cn", "Co"}
    characters = [
        chr(c)
        for c in range(sys.maxunicode + 1)
        if c not in left_out and unicodedata.category(chr(c)) not in private_or_none
    ]
    assert len(characters) > 20_000
    text = "".join(f"a{x}1{x} {x}!{x}\n" for x in characters)
    assert_equal_to_peers(trained, peers, text)


@settings(max_examples=200, deadline=None)
@given(text=HOSTILE)
def test_gpt2_gives_the_ids_of_tiktoken_and_huggingface(
    gpt2: Tokenizer, gpt2_peers: tuple[tiktoken.Encoding, tokenizers.Tokenizer], text: str
) -> None:
    assert_equal_to_peers(gpt2, gpt2_peers, text)


@pytest.fixture(scope="module")
def gpt2_peers(
    gpt2: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tiktoken.Encoding, tokenizers.Tokenizer]:
    """HF reads the original files, so that our own tokenizer.json is not part of the oracle."""
    files = str(DATA / "gpt2_vocab.json"), str(DATA / "gpt2_merges.txt")
    hugging = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(*files))
    hugging.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    hugging.add_special_tokens([END])
    return as_tiktoken(gpt2), hugging


@pytest.mark.parametrize("name", ["tinyshakespeare.txt", "tinystories_head.txt"])
def test_gpt2_gives_the_ids_of_tiktoken_on_real_text(gpt2: Tokenizer, name: str) -> None:
    text = (DATA / name).read_text("utf-8")
    assert gpt2.encode(text) == as_tiktoken(gpt2).encode(text, allowed_special="all")


@settings(max_examples=150, deadline=None)
@given(text=st.text(ASSIGNED | st.sampled_from("aet h'\n"), max_size=60) | HOSTILE)
def test_encode_equals_the_reference(trained: Tokenizer, text: str) -> None:
    vocabulary = trained.vocabulary
    assert trained.encode(text) == reference.encode(
        text,
        vocabulary.tokens,
        merges=vocabulary.merges,
        special_tokens=vocabulary.special_tokens,
        pattern=vocabulary.pattern,
    )


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_decode_inverts_encode(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text)) == text


@settings(deadline=None)
@given(data=st.binary() | HOSTILE.map(str.encode).map(lambda data: data[1:] + b"\xed\xa0\x80"))
def test_decode_bytes_inverts_encode_array_of_any_bytes(trained: Tokenizer, data: bytes) -> None:
    assert trained.decode_bytes(trained.encode_array(data)) == data


@settings(max_examples=200, deadline=None)
@given(text=HOSTILE, data=st.data())
def test_encode_iterable_equals_encode_for_any_chunks(
    trained: Tokenizer, text: str, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert list(trained.encode_iterable(chunks)) == trained.encode(text)


def test_encode_iterable_of_a_file_equals_encode(trained: Tokenizer, corpus: Path) -> None:
    with corpus.open(encoding="utf-8", newline="") as file:
        ids = list(trained.encode_iterable(file))
    assert ids == trained.encode(corpus.read_bytes().decode())


def test_encode_iterable_takes_constant_memory() -> None:
    words = ["def", " function", "(argument", "):\n", "    return", " None", "\n\n"]
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [])

    def peak_bytes(num_repeats: int) -> int:
        pieces = (word for _ in range(num_repeats) for word in words)
        tracemalloc.start()
        try:
            num_ids = sum(1 for _ in tokenizer.encode_iterable(pieces))
            assert num_ids == num_repeats * len("".join(words))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(20_000) < 1.2 * peak_bytes(4_000)


def test_special_tokens_win_over_merges_and_the_longest_wins() -> None:
    both = Tokenizer(HANDOUT_VOCAB, HANDOUT_MERGES, [END, END + END])
    ids = both.special_tokens
    assert both.encode(f"the{END}{END}{END}a") == [9, ids[END + END], ids[END], 1]


def test_special_tokens_that_the_vocabulary_lacks_are_appended_in_order() -> None:
    tokenizer = Tokenizer(HANDOUT_VOCAB, HANDOUT_MERGES, ["the", "<b>", "<a>"])
    assert dict(tokenizer.special_tokens) == {"the": 9, "<b>": 11, "<a>": 12}
    assert tokenizer.vocab_size == 13
    assert len(HANDOUT_VOCAB) == 11


def test_without_special_tokens_their_text_is_ordinary(trained: Tokenizer) -> None:
    plain = Tokenizer(trained.vocabulary.tokens, trained.vocabulary.merges)
    assert trained.special_tokens[END] not in plain.encode(END)
    assert plain.decode(plain.encode(END)) == END


@pytest.mark.parametrize("text", ["\0", "a\0b", "\0\0\n\0", "\ufeffx", "\uffff", "\U0010ffff"])
def test_nul_and_its_like_round_trip(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text)) == text


def test_empty_text_has_no_ids(trained: Tokenizer) -> None:
    assert trained.encode("") == []
    assert list(trained.encode_iterable(["", ""])) == []
    assert trained.decode([]) == ""


def test_lone_surrogate_is_refused_by_index(trained: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"U\+D800\) at index 3"):
        trained.encode("ab \ud800")
    with pytest.raises(ValueError, match=r"U\+DFFF\) at index 5"):
        list(trained.encode_iterable(["ab", " c", "d\udfff"]))


def test_byte_without_a_token_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no token for byte 0x7a"):
        Tokenizer(HANDOUT_VOCAB, HANDOUT_MERGES).encode("the zoo")


@pytest.mark.parametrize("bad_id", [-1, 11, 10**12])
def test_unknown_id_is_refused_by_position(bad_id: int) -> None:
    tokenizer = Tokenizer(HANDOUT_VOCAB, HANDOUT_MERGES)
    with pytest.raises(ValueError, match=rf"id {bad_id} at position 2 .* from 0 to 10"):
        tokenizer.decode([9, 7, bad_id])


@pytest.mark.parametrize(
    ("special_tokens", "message"), [([""], "''"), (["<a>", "<a>"], "twice"), ("<a>", "list")]
)
def test_senseless_special_tokens_are_refused(special_tokens: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer(HANDOUT_VOCAB, HANDOUT_MERGES, special_tokens)


@pytest.mark.parametrize("is_warm", [False, True], ids=["plain", "kernels"])
def test_a_byte_order_mark_is_encoded_like_any_character(tmp_path: Path, is_warm: bool) -> None:
    text, path = "\ufefflow lower\n\ufefflow", tmp_path / "text.txt"
    path.write_bytes(text.encode())
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [])
    if is_warm:
        tokenizer.warm_up()
    expected = list(text.encode())
    assert expected[:3] == [0xEF, 0xBB, 0xBF]
    assert tokenizer.encode(text) == tokenizer.encode_array(text.encode()).tolist() == expected
    assert tokenizer.encode_file(path, tmp_path / "ids.npy").tokens.tolist() == expected
    with path.open(encoding="utf-8", newline="") as file:
        assert list(tokenizer.encode_iterable(file)) == expected
    assert tokenizer.decode(expected) == text


def test_malformed_bytes_decode_to_replacement_characters(trained: Tokenizer) -> None:
    ids = trained.encode_array(b"a\xe2\x82b\xff")
    assert trained.decode(ids) == "a\ufffdb\ufffd"


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=40) | HOSTILE.map(str.encode).map(lambda data: data[:-1]))
def test_decoder_joined_equals_decode(trained: Tokenizer, data: bytes) -> None:
    ids = trained.encode_array(data).tolist()
    decoder = trained.decoder()
    assert "".join([*map(decoder.push, ids), decoder.finish()]) == trained.decode(ids)


def test_decoder_never_splits_a_character() -> None:
    decoder = Tokenizer({i: bytes([i]) for i in range(256)}, []).decoder()
    pieces = [decoder.push(byte) for byte in "\U0001f600".encode()]
    assert pieces == ["", "", "", "\U0001f600"]
    assert decoder.finish() == ""


def test_encode_file_writes_the_ids_of_encode(
    trained: Tokenizer, corpus: Path, tmp_path: Path
) -> None:
    token_file = trained.encode_file(corpus, tmp_path / "corpus.npy")
    assert token_file.tokens.tolist() == trained.encode(corpus.read_bytes().decode())
    assert token_file.tokens.dtype == np.uint16
    assert np.array_equal(np.load(tmp_path / "corpus.npy"), token_file.tokens)


def test_encode_array_is_uint32_above_65536_ids() -> None:
    vocab = {i: bytes([i]) for i in range(256)}
    assert Tokenizer(vocab, []).encode_array("a").dtype == np.uint16
    assert Tokenizer(vocab | {65_536: b"ab"}, []).encode_array("a").dtype == np.uint32


def test_encode_batch_encodes_each_text(trained: Tokenizer) -> None:
    assert trained.encode_batch(["a b", "", END]) == [
        trained.encode("a b"),
        [],
        [trained.end_of_text_id],
    ]


def test_load_inverts_save(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == trained.fingerprint
    assert loaded.special_tokens == trained.special_tokens
    text = "".join(FRAGMENTS)
    assert loaded.encode(text) == trained.encode(text)


def test_from_files_reads_vocabulary_and_merges(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path)
    loaded = Tokenizer.from_files(
        tmp_path / "vocab.json",
        tmp_path / "merges.txt",
        SPECIALS,
        pattern=trained.vocabulary.pattern,
    )
    assert loaded.fingerprint == trained.fingerprint


@pytest.mark.parametrize("character", ["a", "\0", "ab", "\u4e00"])
def test_one_long_pretoken_equals_its_peer(trained: Tokenizer, character: str) -> None:
    text = character * 20_000
    assert trained.decode(trained.encode(text)) == text
    assert trained.encode(text[:900]) == as_tiktoken(trained).encode(text[:900])
