"""Every public function of `bpe` and `tokenizer` says what to pass, whatever else it was given."""

import inspect
import re
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import bpe
import tokenizer
from bpe import PretokenCounts, Vocabulary
from tokenizer import TokenFile, Tokenizer

BYTES = {i: bytes([i]) for i in range(256)}
ORDINARY = Tokenizer(BYTES, [])
COUNTS = PretokenCounts({b"low": 2})
LONG = [97] * 1000  # decoded by kernels, where few ids are not

NO_TEXT = [b"ab", 5, None, ["ab"], Path("ab")]
NO_PATH = [5, None, b"x", 1.5]
NO_PATHS = [*NO_PATH, [5], [b"x"], [None]]
NO_NUMBER = ["3", 3.5, b"3", [3], True]
NO_LIST = ["ab", b"ab", 5]
NO_SPECIALS = [*NO_LIST, [5], [b"<x>"], [None], [""]]
NO_PATTERN = [5, None, b"gpt2", ["gpt2"]]
NO_COUNTS = [{b"low": 2}, None, 5, "low"]
NO_IDS = ["ab", 5, 1.5, None, np.array(5), np.zeros((2, 2), np.int64), np.int64(5)]
NO_ID = [-1, 256, 2**70, 97.0, True, "a", None, b"a", [97]]
NO_ITEMS = [*NO_IDS, *([one] for one in NO_ID), *([*LONG, one] for one in NO_ID)]
NO_ITEMS += [np.array([97.0]), np.array([True]), np.array([*LONG, 300])]
NO_PRETOKENS = ["low", 5, [b"low"], {"low": 2}, {b"low": "2"}, {b"low": 2.5}, {b"": 1}, {b"a": 0}]
NO_VOCAB = [[b"a"], "a", 5, None, {"a": 0}, {0: "a"}, {0: 97}]
NO_MERGES = ["ab", 5, [5], ["a b"], [("a", "b")], [(b"a",)], [(b"a", b"b", b"c")]]

Cases = list[tuple[Callable[[Any], object], list[Any]]]


def cases(folder: Path) -> dict[str, Cases]:
    """By public name: calls with one argument left open, and what must not be put there."""
    text = folder / "text.txt"
    text.write_text("low lower")
    file = ORDINARY.encode_file(text, folder / "ids.npy")
    out = folder / "out.npy"
    training: dict[str, Cases] = {
        name: [
            (lambda x, f=function: f(x, 300), NO_PATHS),
            (lambda x, f=function: f(text, x), [*NO_NUMBER, None, 3, -1]),
            (lambda x, f=function: f(text, 300, x), NO_SPECIALS),
            (lambda x, f=function: f(text, 300, pattern=x), NO_PATTERN),
            (lambda x, f=function: f(text, 300, tie_breaking=x), [5, None, ["cs336"], "best"]),
            (lambda x, f=function: f(text, 300, num_workers=x), [*NO_NUMBER, 0]),
            (lambda x, f=function: f(text, 300, max_pretokens=x), [*NO_NUMBER, 0]),
        ]
        for name, function in (
            ("bpe.train_bpe", bpe.train_bpe),
            ("bpe.train_vocabulary", bpe.train_vocabulary),
        )
    }
    return training | {
        "bpe.count_pretokens": [
            (bpe.count_pretokens, NO_PATHS),
            (lambda x: bpe.count_pretokens(text, x), NO_SPECIALS),
            (lambda x: bpe.count_pretokens(text, pattern=x), NO_PATTERN),
            (lambda x: bpe.count_pretokens(text, num_workers=x), [*NO_NUMBER, 0]),
            (lambda x: bpe.count_pretokens(text, max_pretokens=x), [*NO_NUMBER, 0]),
        ],
        "bpe.count_documents": [
            (bpe.count_documents, [*NO_LIST, None, [b"ab"], [5], [["ab"]], [Path("ab")]]),
            (lambda x: bpe.count_documents(["low"], x), NO_SPECIALS),
            (lambda x: bpe.count_documents(["low"], pattern=x), NO_PATTERN),
        ],
        "bpe.learn_merges": [
            (lambda x: bpe.learn_merges(x, 1), NO_COUNTS),
            (lambda x: bpe.learn_merges(COUNTS, x), [*NO_NUMBER, None, -1]),
            (lambda x: bpe.learn_merges(COUNTS, 1, tie_breaking=x), [5, None, "best"]),
        ],
        "bpe.vocabulary_from_counts": [
            (lambda x: bpe.vocabulary_from_counts(x, 300), NO_COUNTS),
            (lambda x: bpe.vocabulary_from_counts(COUNTS, x), [*NO_NUMBER, None, 3]),
            (lambda x: bpe.vocabulary_from_counts(COUNTS, 300, x), NO_SPECIALS),
            (lambda x: bpe.vocabulary_from_counts(COUNTS, 300, pattern=x), [5, b"gpt2"]),
        ],
        "bpe.resolve_pattern": [(bpe.resolve_pattern, NO_PATTERN)],
        "bpe.CountSettings": [
            (bpe.CountSettings, NO_PATTERN),
            (lambda x: bpe.CountSettings("gpt2", x), [*NO_LIST, None, [5], [b"x"]]),
        ],
        "bpe.PretokenCounts": [(PretokenCounts, NO_PRETOKENS)],
        "bpe.PretokenCounts.merge": [
            (PretokenCounts.merge, [COUNTS, None, 5, "ab", [{b"low": 2}], [COUNTS, 5]])
        ],
        "bpe.PretokenCounts.load": [(PretokenCounts.load, NO_PATH)],
        "bpe.PretokenCounts.save": [(COUNTS.save, NO_PATH)],
        "bpe.PretokenCounts.pruned": [(COUNTS.pruned, [*NO_NUMBER, None, 0])],
        "bpe.Pretokenizer": [(bpe.Pretokenizer, NO_PATTERN)],
        "bpe.Pretokenizer.split": [(bpe.Pretokenizer("gpt2").split, NO_TEXT)],
        "bpe.Pretokenizer.spans": [(bpe.Pretokenizer("gpt2").spans, NO_TEXT)],
        "bpe.Vocabulary": [
            (lambda x: Vocabulary(x, []), NO_VOCAB),
            (lambda x: Vocabulary(BYTES, x), [*NO_MERGES, None]),
            (lambda x: Vocabulary(BYTES, [], x), [*NO_SPECIALS, None]),
            (lambda x: Vocabulary(BYTES, [], (), x), NO_PATTERN),
        ],
        "bpe.Vocabulary.save": [(Vocabulary(BYTES, []).save, NO_PATH)],
        "bpe.Vocabulary.load": [(Vocabulary.load, NO_PATH)],
        "bpe.Vocabulary.from_files": [
            (lambda x: Vocabulary.from_files(x, text), NO_PATH),
            (lambda x: Vocabulary.from_files(text, x), NO_PATH),
            (lambda x: Vocabulary.from_files(text, text, x), NO_SPECIALS),
        ],
        "tokenizer.StreamEncoder.push": [(ORDINARY.encoder().push, NO_TEXT)],
        "tokenizer.StreamDecoder.push": [(ORDINARY.decoder().push, NO_ID)],
        "tokenizer.StreamDecoder.push_many": [(ORDINARY.decoder().push_many, NO_ITEMS)],
        "tokenizer.TokenFile.open": [(TokenFile.open, NO_PATH)],
        "tokenizer.TokenFile.check_tokenizer": [(file.check_tokenizer, [5, None, "x"])],
        "tokenizer.Tokenizer": [
            (lambda x: Tokenizer(x, []), NO_VOCAB),
            (lambda x: Tokenizer(x, [], ["<s>"]), NO_VOCAB),
            (lambda x: Tokenizer(BYTES, x), [*NO_MERGES, None]),
            (lambda x: Tokenizer(BYTES, [], x), NO_SPECIALS),
            (lambda x: Tokenizer(BYTES, [], pattern=x), NO_PATTERN),
        ],
        "tokenizer.Tokenizer.from_vocabulary": [(Tokenizer.from_vocabulary, [BYTES, 5, None])],
        "tokenizer.Tokenizer.from_files": [
            (lambda x: Tokenizer.from_files(x, text), NO_PATH),
            (lambda x: Tokenizer.from_files(text, x), NO_PATH),
            (lambda x: Tokenizer.from_files(text, text, x), NO_SPECIALS),
        ],
        "tokenizer.Tokenizer.load": [(Tokenizer.load, NO_PATH)],
        "tokenizer.Tokenizer.save": [(ORDINARY.save, NO_PATH)],
        "tokenizer.Tokenizer.encode": [
            (ORDINARY.encode, NO_TEXT),
            (lambda x: ORDINARY.encode("ab", special=x), [5, None, "all", ["split"]]),
        ],
        "tokenizer.Tokenizer.encode_array": [
            (ORDINARY.encode_array, [5, None, ["ab"], [97], Path("ab"), np.array([97])]),
            (lambda x: ORDINARY.encode_array("ab", special=x), [5, None, "all"]),
        ],
        "tokenizer.Tokenizer.encode_batch": [
            (ORDINARY.encode_batch, [*NO_LIST, None, [b"ab"], [5], [["ab"]], [None]]),
            (lambda x: ORDINARY.encode_batch(["ab"], num_threads=x), [*NO_NUMBER, 0]),
        ],
        "tokenizer.Tokenizer.encode_iterable": [
            (ORDINARY.encode_iterable, [*NO_LIST, None]),
            (lambda x: list(ORDINARY.encode_iterable(x)), [[b"ab"], [5], [["ab"]], ["ab", None]]),
        ],
        "tokenizer.Tokenizer.encode_file": [
            (lambda x: ORDINARY.encode_file(x, out), NO_PATHS),
            (lambda x: ORDINARY.encode_file(text, x), [*NO_PATH, [out], "out.txt"]),
            (lambda x: ORDINARY.encode_file(text, out, num_threads=x), [*NO_NUMBER, 0]),
        ],
        "tokenizer.Tokenizer.encode_files_to_array": [
            (ORDINARY.encode_files_to_array, NO_PATHS),
            (lambda x: ORDINARY.encode_files_to_array(text, num_threads=x), [*NO_NUMBER, 0]),
        ],
        "tokenizer.Tokenizer.decode": [(ORDINARY.decode, NO_ITEMS)],
        "tokenizer.Tokenizer.decode_bytes": [(ORDINARY.decode_bytes, NO_ITEMS)],
    }


BUILT_BY_OTHERS = {  # what callers get, but do not make, and what is for other modules
    *("tokenizer.StreamEncoder", "tokenizer.StreamDecoder"),
    *("tokenizer.TokenFile", "tokenizer.TokenFileInfo"),
    *("bpe.PretokenCounts.from_packed", "tokenizer.Tokenizer.kernels_for"),
}


def public_names(module: ModuleType) -> Iterator[str]:
    """Yield functions, classes and methods that take an argument."""
    for name in module.__all__:
        found = getattr(module, name)
        if not callable(found):
            continue
        if inspect.signature(found).parameters:
            yield f"{module.__name__}.{name}"
        if inspect.isclass(found):
            package = module.__name__
            own = {n for c in found.__mro__ if c.__module__.startswith(package) for n in vars(c)}
            for method, _ in inspect.getmembers(found, callable):
                is_own = method in own and not method.startswith("_")
                if is_own and set(inspect.signature(getattr(found, method)).parameters) - {"self"}:
                    yield f"{module.__name__}.{name}.{method}"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cases]:
    ORDINARY.warm_up()
    return cases(tmp_path_factory.mktemp("files"))


def test_no_public_name_is_forgotten(table: dict[str, Cases]) -> None:
    names = {*public_names(bpe), *public_names(tokenizer)}
    assert names == table.keys() | BUILT_BY_OTHERS


@pytest.mark.parametrize("name", sorted({*public_names(bpe), *public_names(tokenizer)}))
def test_a_wrong_argument_is_answered_by_what_to_pass(
    table: dict[str, Cases], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call, wrong in table.get(name, []):
        for value in wrong:
            with pytest.raises((TypeError, ValueError)) as caught:
                pytest.fail(f"{name} took {value!r} and returned {call(value)!r:.80}")
            assert re.search("; |must be one of", str(caught.value)), (value, caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_bytes_and_single_strings_are_told() -> None:
    for call, argument, message in (
        (ORDINARY.encode, b"ab", "text is the bytes b'ab'; pass a str; encode_array takes bytes"),
        (ORDINARY.encode_batch, "one string", "texts is the str 'one string'; pass a list of text"),
        (ORDINARY.decode, 5, "ids is the int 5; pass a list or an array of ids"),
        (bpe.count_documents, "low", "documents is the str 'low'; pass a list of texts, such as"),
        (ORDINARY.encode_files_to_array, [b"a"], r"source\[0\] is the bytes b'a'; pass a path"),
    ):
        with pytest.raises(TypeError, match=message):
            call(argument)


@pytest.mark.parametrize("repeats", [1, 500])
def test_whatever_holds_ids_is_decoded(repeats: int) -> None:
    ids, text = [104, 105] * repeats, "hi" * repeats
    numpys = [np.int64(one) for one in ids]
    forms = [tuple(ids), iter(ids), bytes(ids), array("q", ids), np.array(ids, np.uint16), numpys]
    assert [ORDINARY.decode(form) for form in forms] == [text] * len(forms)
    assert ORDINARY.decode([0, 1] * repeats) == "\0\1" * repeats
