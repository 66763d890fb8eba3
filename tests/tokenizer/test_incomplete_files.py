"""Files that were cut off, reordered or mixed up are refused; what is merely unusual is read."""

import argparse
import json
import random
import shutil
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import bpe
from bpe import PretokenCounts, Vocabulary
from bpe.formats.evidence import check_merges
from tokenizer import Tokenizer
from tokenizer.formats import load_tiktoken, load_tokenizer_json, save_vocabulary

END = "<|endoftext|>"
TEXT = Path(argparse.__file__).read_text("utf-8")[:60_000]
COUNTS = bpe.count_documents([TEXT], [END])
TRAINED = bpe.vocabulary_from_counts(COUNTS, 700, [END])
OTHER = bpe.vocabulary_from_counts(COUNTS, 700, [END], tie_breaking="smallest-bytes")
ORDINARY = {i: t for i, t in TRAINED.tokens.items() if t != END.encode()}


def refuses(tokens: dict[int, bytes], merges: list[tuple[bytes, bytes]]) -> bool:
    """Whether foreign files of these are refused, where no special token is named."""
    try:
        check_merges(tokens, merges, ())
    except ValueError:
        return True
    return False


def cut_lines(path: Path, num_lines: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:num_lines]))


def test_a_folder_with_merges_cut_off_names_both_counts(tmp_path: Path) -> None:
    TRAINED.save(tmp_path)
    cut_lines(tmp_path / "merges.txt", 300)  # the first line is a header
    with pytest.raises(ValueError, match=r"bpe\.json: it states num_merges 443, but 299 merges"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("name", ["bpe.json", "vocab.json", "merges.txt"])
def test_a_folder_with_a_file_of_another_tokenizer_is_refused(tmp_path: Path, name: str) -> None:
    swapped = {257: TRAINED.tokens[258], 258: TRAINED.tokens[257]}
    other = Vocabulary(TRAINED.tokens | swapped, TRAINED.merges[::-1], (END,))
    TRAINED.save(tmp_path / "one")
    other.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / name, tmp_path / "one" / name)
    with pytest.raises(ValueError, match=rf"{tmp_path / 'one'}.*"):
        Tokenizer.load(tmp_path / "one")


def make_old(folder: Path) -> None:
    """Make a folder what the version before saved: nothing is stated."""
    header = json.loads((folder / "bpe.json").read_text("utf-8"))
    for key in ("num_tokens", "num_merges", "fingerprint"):
        del header[key]
    (folder / "bpe.json").write_text(json.dumps(header | {"version": 1}), "utf-8")


def test_a_folder_that_an_earlier_version_saved_loads(tmp_path: Path) -> None:
    TRAINED.save(tmp_path)
    make_old(tmp_path)
    assert Vocabulary.load(tmp_path) == TRAINED
    cut_lines(tmp_path / "merges.txt", 300)
    with pytest.raises(ValueError, match=r"merges\.txt, with .*: 299 merges leave 144 tokens"):
        Vocabulary.load(tmp_path)


@pytest.mark.parametrize("vocabulary", [TRAINED, OTHER], ids=["cs336", "smallest-bytes"])
def test_foreign_merges_cut_at_any_length_are_refused(vocabulary: Vocabulary) -> None:
    merges = vocabulary.merges
    accepted = [n for n in range(len(merges)) if not refuses(vocabulary.tokens, merges[:n])]
    assert accepted == []
    assert not refuses(vocabulary.tokens, merges)


def test_foreign_merges_with_any_stretch_missing_are_refused() -> None:
    merges = TRAINED.merges
    starts = range(0, len(merges) - 7, 5)
    assert all(refuses(TRAINED.tokens, merges[:n] + merges[n + 7 :]) for n in starts)


@given(st.integers(0, 2**32))
def test_foreign_merges_in_another_order_are_refused(seed: int) -> None:
    rng = random.Random(seed)
    one, other = rng.sample(range(len(TRAINED.merges)), 2)
    swapped = TRAINED.merges[:]
    swapped[one], swapped[other] = swapped[other], swapped[one]
    assert refuses(TRAINED.tokens, swapped)
    assert refuses(TRAINED.tokens, rng.sample(TRAINED.merges, len(TRAINED.merges)))


def shuffled_ids(tokens: dict[int, bytes], *, seed: int) -> dict[int, bytes]:
    ids = random.Random(seed).sample(list(tokens), len(tokens))
    return dict(zip(ids, tokens.values(), strict=True))


def test_ids_need_not_follow_the_merges() -> None:
    """RoBERTa's are ordered by how often a token occurs."""
    tokens, merges = shuffled_ids(TRAINED.tokens, seed=0), TRAINED.merges
    assert not refuses(tokens, merges)
    assert all(refuses(tokens, merges[:n]) for n in range(0, len(merges), 9))
    assert refuses(tokens, random.Random(0).sample(merges, len(merges)))


SPECIALS = ["<s>", "</s>", "<pad>", "[PAD]", "[UNK]", "<unk>", "<|im_start|>", "<mask>", "EOS"]


@pytest.mark.parametrize("first", [0, len(ORDINARY) + len(SPECIALS)], ids=["first", "last"])
def test_special_tokens_that_nobody_names_are_read(tmp_path: Path, first: int) -> None:
    ordinary = dict(enumerate([*ORDINARY.values()], start=len(SPECIALS)))
    tokens = ordinary | dict(enumerate(map(str.encode, SPECIALS), start=first))
    Vocabulary(dict(sorted(tokens.items())), TRAINED.merges).save(tmp_path)
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    assert Tokenizer.from_files(*files).vocabulary.tokens == tokens
    named = Tokenizer.from_files(*files, special_tokens=SPECIALS)
    assert named.encode("<s>[PAD]") == [first, first + 3]


def test_tokens_that_stand_for_whole_pretokens_are_read() -> None:
    """As 678 of Llama 3's: no two tokens before them make them, though later ones may."""
    whole = b" zxqzxqzxqw"
    tokens = [bytes([b]) for b in range(256)] + [whole, b" zxqzxq", b"zxqw", b" z", b" zx"]
    merges = [(b" ", b"z"), (b" z", b"x")]
    assert not refuses(dict(enumerate(tokens)), merges)


def test_tokens_appended_without_a_merge_are_refused_where_two_others_make_them() -> None:
    appended = TRAINED.tokens | {700: b"argument_parser"}
    assert not refuses(appended, TRAINED.merges)  # of more than two parts: for whole pretokens
    assert refuses(TRAINED.tokens | {700: TRAINED.tokens[600] + b"\0"}, TRAINED.merges)


def change_json(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_tokenizer_json_with_merges_cut_off_is_refused(tmp_path: Path, is_ours: bool) -> None:
    path = tmp_path / "tokenizer.json"
    save_vocabulary(TRAINED, path)
    if not is_ours:
        change_json(path, lambda content: content["model"].pop("bpe"))
    assert load_tokenizer_json(path) == TRAINED
    change_json(path, lambda content: content["model"]["merges"].pop())
    message = "num_merges 443, but 442 merges" if is_ours else "442 merges leave 1 tokens"
    with pytest.raises(ValueError, match=rf"{path} cannot be used: .*{message}"):
        load_tokenizer_json(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model["vocab"].pop("Z"), "num_tokens 700, but 699"),
        (lambda model: model.update(bpe=None), "states None where counts"),
        (lambda model: model["bpe"].update(fingerprint="0"), "states the fingerprint '0'"),
        (lambda model: model["vocab"].update(Z=300), r"id 300 stands for b'Z' and for b' p'"),
    ],
)
def test_a_tokenizer_json_that_is_not_what_it_states_is_refused(
    tmp_path: Path, change: Callable[[dict], object], message: str
) -> None:
    path = tmp_path / "tokenizer.json"
    save_vocabulary(TRAINED, path)
    change_json(path, lambda content: change(content["model"]))
    with pytest.raises(ValueError, match=message):
        load_tokenizer_json(path)


def test_ranks_cut_at_any_line_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tiktoken"
    save_vocabulary(TRAINED, path)
    lines = path.read_bytes().splitlines(keepends=True)
    for num_lines in range(0, len(lines), 9):
        path.write_bytes(b"".join(lines[:num_lines]))
        with pytest.raises(ValueError, match=rf"{path}"):
            load_tiktoken(path, pattern="gpt2")
    path.write_bytes(b"".join(lines))
    assert load_tiktoken(path, pattern="gpt2", special_tokens={END: 0}) == TRAINED


def test_foreign_ranks_are_read_and_those_cut_off_within_the_bytes_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tiktoken"
    save_vocabulary(TRAINED, path)
    (tmp_path / "x.tiktoken.json").unlink()
    assert load_tiktoken(path, pattern="gpt2", special_tokens={END: 0}) == TRAINED
    cut_lines(path, 200)
    with pytest.raises(ValueError, match=r"no token for 56 of the 256 bytes .* cut off"):
        load_tiktoken(path, pattern="gpt2")


def test_a_rank_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tiktoken"
    save_vocabulary(TRAINED, path)
    (tmp_path / "x.tiktoken.json").unlink()
    last = path.read_bytes().splitlines()[-1].split()[0]
    path.write_bytes(path.read_bytes() + last + b" 700\n")
    with pytest.raises(ValueError, match=rf"line 700: b'{b64decode(last).decode()}' has id 700"):
        load_tiktoken(path, pattern="gpt2")


def test_ranks_replace_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "x.tiktoken.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match=r"x\.tiktoken\.json would be replaced"):
        save_vocabulary(TRAINED, tmp_path / "x.tiktoken")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tiktoken.json"]


def test_counts_with_other_settings_than_were_saved_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.counts"
    COUNTS.save(path)
    content = path.read_bytes()
    assert b"<|endoftext|>" in content
    path.write_bytes(content.replace(b"<|endoftext|>", b"<|endoftexx|>"))
    with pytest.raises(ValueError, match=r"damaged \(the checksum of its metadata does not match"):
        PretokenCounts.load(path)


def test_counts_that_an_earlier_version_saved_load(tmp_path: Path) -> None:
    path = tmp_path / "a.counts"
    COUNTS.save(path)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    del header["__metadata__"]["metadata_sha256"]
    spelled = json.dumps(header).encode()
    path.write_bytes(len(spelled).to_bytes(8, "little") + spelled + content[8 + size :])
    assert PretokenCounts.load(path) == COUNTS


@pytest.mark.parametrize("named", [(), ("user", "assistant")])
def test_special_tokens_that_merges_make_too_load_and_give_the_ids_of_hf(
    named: tuple[str, ...], tmp_path: Path
) -> None:
    """HF gives the result of a merge the id of the special token with that text."""
    hf = tokenizers.Tokenizer(tokenizers.models.BPE())
    hf.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["user", "assistant"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    hf.train_from_iterator(
        ["the user asks the assistant; userland and users assist " * 30], trainer
    )
    hf.save(str(tmp_path / "tokenizer.json"))
    vocab, merges = hf.model.save(str(tmp_path))
    text = "the user asks the assistant"
    expected = hf.encode(text).ids
    assert Tokenizer.from_files(vocab, merges, named).encode(text) == expected or not named
    assert Tokenizer.load(tmp_path / "tokenizer.json").encode(text) == expected
