"""The kernels give what plain Python gives: for any vocabulary, any text, from any thread."""

import os
import pickle
import random
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bpe import PATTERNS, count_documents, vocabulary_from_counts
from tokenizer import Tokenizer
from tokenizer._kernels import worker
from tokenizer._kernels.encoding import LONG_FULL, MEMORY_FULL, SHORT_FULL
from tokenizer.merge import MergeTable

END = "<|endoftext|>"
SPECIALS = [END, "<|x|>", "<|x|><|y|>", "|>\u00e9", "<|a special token of more than 32 bytes|>"]
BYTES = {i: bytes([i]) for i in range(256)}
FRAGMENTS = [
    *SPECIALS, *(special[:-1] for special in SPECIALS),
    "'ll", "'", " ", "  ", "\n", "\r\n", "\t", "\x85", "\xa0", "\u3000", "\0", "a", " the", "ABC",
    "e\u0301", "\u0434\u0430", "\u6d4b\u8bd5", "\U0001f468\u200d\U0001f469", "12345", "\u0663",
    "!?", "a" * 15, "b" * 16, "ab" * 16, "ba" * 17, "c" * 62, "d" * 63, "xyz" * 30, "-" * 100,
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), max_size=30).map("".join)
NO_SURROGATES = TEXTS.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))


def warm(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.warm_up()
    assert tokenizer.kernels_for(0) is not None
    return tokenizer


def twin(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer in plain Python."""
    other = Tokenizer.from_vocabulary(tokenizer.vocabulary)
    assert other.kernels_for(0) is None
    return other


def learn(pattern: str = "gpt2", vocab_size: int = 700) -> Tokenizer:
    source = Path(random.__file__).read_text("utf-8")
    counts = count_documents([source, "".join(FRAGMENTS) * 3], SPECIALS, pattern=pattern)
    return Tokenizer.from_vocabulary(
        vocabulary_from_counts(counts, vocab_size, SPECIALS, pattern=pattern)
    )


@pytest.fixture(scope="module", params=[*PATTERNS, r"\w+|\W"])
def trained(request: pytest.FixtureRequest) -> Tokenizer:
    return warm(learn(request.param))


@pytest.fixture(scope="module", params=["permuted", "wide", "holes"])
def renumbered(request: pytest.FixtureRequest) -> Tokenizer:
    """Ids in any order, beyond 16 bits, and with holes; also those of single bytes."""
    vocabulary = learn().vocabulary
    rng = random.Random(0)
    numbers = list(range(len(vocabulary)))
    rng.shuffle(numbers)
    if request.param == "wide":
        numbers = [number + 65_000 for number in numbers]
    if request.param == "holes":
        numbers = [number * 50 for number in numbers]
    vocab = dict(zip(numbers, vocabulary.tokens.values(), strict=True))
    return warm(Tokenizer(vocab, vocabulary.merges, SPECIALS))


@settings(deadline=None, max_examples=150)
@given(text=NO_SURROGATES)
@example(text="")
def test_ids_are_those_of_plain_python(trained: Tokenizer, text: str) -> None:
    plain = twin(trained)
    expected = plain.encode(text)
    assert trained.encode(text) == expected
    assert trained.encode_array(text).tolist() == expected
    assert trained.encode_array(text.encode()).tolist() == expected
    assert trained.encode(text, special="text") == plain.encode(text, special="text")
    assert trained.decode_bytes(np.array(expected, np.int64)) == text.encode()


@settings(deadline=None, max_examples=100)
@given(text=NO_SURROGATES)
def test_any_numbering_gives_the_ids_of_plain_python(renumbered: Tokenizer, text: str) -> None:
    expected = twin(renumbered).encode(text)
    assert renumbered.encode(text) == expected
    assert renumbered.encode_array(text).dtype == renumbered.dtype
    assert renumbered.encode_array(text).tolist() == expected
    assert renumbered.decode(renumbered.encode_array(text)) == text


@settings(deadline=None, max_examples=200)
@given(
    data=st.binary(max_size=300)
    | st.lists(
        st.binary(max_size=3) | TEXTS.map(lambda text: text.encode(errors="surrogatepass")),
        max_size=12,
    ).map(b"".join)
)
def test_bytes_of_any_content_come_back(data: bytes) -> None:
    ids = WARM.encode_array(data)
    assert ids.tolist() == twin(WARM).encode_array(data).tolist()
    assert WARM.decode_bytes(ids) == data


WARM = learn()
BYTE_WISE = Tokenizer(BYTES, [])


@pytest.fixture(autouse=True, scope="module")
def _warm() -> None:
    WARM.warm_up()


@st.composite
def vocabularies(draw: st.DrawFn) -> Tokenizer:
    """Merges in any order, several for one token, with parts that none makes."""
    tokens = [bytes([byte]) for byte in range(256)]
    merges: list[tuple[bytes, bytes]] = []
    for _ in range(draw(st.integers(0, 14))):
        pool = [b"a", b"b", *tokens[256:]]
        pair = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
        if pair not in merges and len(pair[0] + pair[1]) < 80:
            merges.append(pair)
            tokens += [pair[0] + pair[1]] if pair[0] + pair[1] not in tokens else []
    ids = draw(st.permutations(range(len(tokens))))
    merges = draw(st.permutations(merges))
    return Tokenizer(dict(zip(ids, tokens, strict=True)), merges)


@settings(deadline=None, max_examples=300)
@given(tokenizer=vocabularies(), text=st.text("ab", max_size=150))
def test_senseless_merges_give_the_ids_of_plain_python(tokenizer: Tokenizer, text: str) -> None:
    vocabulary = tokenizer.vocabulary
    expected = MergeTable(vocabulary.tokens, vocabulary.merges).encode(text.encode())
    assert warm(tokenizer).encode_array(text).tolist() == expected
    assert tokenizer.encode(text) == expected


def _source_files() -> Iterator[str]:
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    paths = [*sorted(stdlib.glob("*.py"))[::4], *sorted((stdlib / "encodings").glob("*.py"))[:20]]
    return (path.read_text("utf-8", errors="replace") for path in paths)


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_real_text_gives_the_ids_of_plain_python(pattern: str) -> None:
    text = END.join(_source_files())
    assert len(text) > 500_000
    tokenizer = warm(learn(pattern))
    expected = twin(tokenizer)._plain.encode(text)
    assert tokenizer.encode_array(text).tolist() == list(expected)


@pytest.mark.parametrize(
    ("status", "limits"),
    [
        (SHORT_FULL, {"FIRST_SHORT": 1 << 10, "MAX_SHORT_ENTRIES": 1 << 12}),
        (LONG_FULL, {"FIRST_LONG": 1 << 10, "MAX_LONG_ENTRIES": 1 << 12}),
        (MEMORY_FULL, {"_ARENA_BYTES": 1 << 16}),
    ],
)
def test_full_tables_grow_and_then_begin_anew(
    monkeypatch: pytest.MonkeyPatch, status: int, limits: dict[str, int]
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(worker, name, value)
    requests: list[int] = []
    make_room = worker.Worker.make_room
    monkeypatch.setattr(
        worker.Worker,
        "make_room",
        lambda self, status: (requests.append(status), make_room(self, status)),
    )
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(1, 60))) for _ in range(20_000)]
    text = END.join(" ".join(words[i : i + 9]) for i in range(0, len(words), 9))
    tokenizer = warm(Tokenizer.from_vocabulary(WARM.vocabulary))
    expected = list(twin(WARM)._plain.encode(text))
    assert tokenizer.encode_array(text).tolist() == expected
    assert requests.count(status) > 3
    assert [i for word in words[:500] for i in tokenizer.encode(f" {word}")] == [
        i for word in words[:500] for i in twin(WARM).encode(f" {word}")
    ]


@pytest.mark.parametrize("length", [61, 62, 63, 64, 4095, 4096, 4097, 5000, 200_000])
def test_long_pretokens_merge_as_in_plain_python(length: int) -> None:
    text = "".join(random.Random(length).choices("abe", k=length))
    expected = twin(WARM).encode(text)
    assert WARM.encode_array(text).tolist() == expected
    assert WARM.encode(text) == expected
    assert WARM.encode(f"{text} {text}")[: len(expected)] == expected


@pytest.mark.parametrize("unit", ["a", " ", "\n", "\U0001f600", "a ", "a1", "!\u00e9", "\u0301"])
def test_runs_of_a_megabyte_are_encoded(unit: str) -> None:
    text = unit * (1 << 20)
    for pattern in PATTERNS:
        tokenizer = warm(learn(pattern, vocab_size=300))
        assert tokenizer.decode(tokenizer.encode_array(text)) == text


def test_an_unknown_id_is_named_with_its_position() -> None:
    for ids in ([1] * 500 + [700], [70_000] * 300, [1] * 500 + [-1]):
        with pytest.raises(ValueError, match=rf"id {ids[-1]} at position") as compiled:
            WARM.decode(np.array(ids))
        with pytest.raises(ValueError, match=rf"id {ids[-1]} at position") as plain:
            WARM.decode(ids)
        assert str(compiled.value) == str(plain.value)


@pytest.mark.parametrize("ids", [[], (104, 105), range(104, 106), b"hi", iter([104, 105])])
def test_any_iterable_of_ids_is_decoded(ids: Iterable[int]) -> None:
    expected = "" if ids == [] else "hi"
    assert warm(BYTE_WISE).decode(ids) == expected


@pytest.mark.parametrize("ids", [[1.5], [None], ["a"], [2**70], [True], np.array([1.5])])
@pytest.mark.parametrize("num_before", [0, 500])
def test_what_is_no_id_is_refused_alike(ids: list[object], num_before: int) -> None:
    ids = [*[1] * num_before, *ids]
    for tokenizer in (WARM, twin(WARM)):
        with pytest.raises(
            ValueError, match=f"at position {num_before} is not a token of this voc"
        ):
            tokenizer.decode(ids)


def test_eight_threads_get_the_right_ids() -> None:
    texts = [text[:20_000] for text in _source_files()][:40]
    expected = [twin(WARM).encode(text) for text in texts]
    tokenizer = warm(Tokenizer.from_vocabulary(WARM.vocabulary))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(tokenizer.encode, texts)) == expected
            assert [a.tolist() for a in pool.map(tokenizer.encode_array, texts)] == expected
    assert tokenizer.encode_batch(texts, num_threads=8) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_and_a_pickle_go_on() -> None:
    WARM.encode("before")
    code = """
import os, pickle, sys
tokenizer = pickle.load(sys.stdin.buffer)
tokenizer.warm_up()
expected = tokenizer.encode("some words and more")
child = os.fork()
if child == 0:
    os._exit(0 if tokenizer.encode("some words and more") == expected else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(expected)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(WARM), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == str(WARM.encode("some words and more"))


def test_ids_beyond_what_tables_can_hold_stay_with_plain_python() -> None:
    tokenizer = Tokenizer({**BYTES, 2**31: b"ab"}, [(b"a", b"b")])
    tokenizer.warm_up()
    assert tokenizer.kernels_for(1 << 40) is None
    assert tokenizer.encode("aab") == [97, 2**31]


def test_special_text_is_what_the_caller_says() -> None:
    for tokenizer in (WARM, twin(WARM)):
        end = tokenizer.special_tokens[END]
        assert tokenizer.encode(f"a{END}") == [tokenizer.encode("a")[0], end]
        assert end not in tokenizer.encode(f"a{END}", special="text")
        assert tokenizer.decode(tokenizer.encode(f"a{END}", special="text")) == f"a{END}"
        for refused in (tokenizer.encode, tokenizer.encode_array):
            with pytest.raises(ValueError, match=r"special token '<\|endoftext\|>' at index 1"):
                refused(f"a{END}", special="forbid")
            with pytest.raises(ValueError, match="special is 'no', but must be one of 'split'"):
                refused("a", special="no")
        assert tokenizer.encode("a", special="forbid") == tokenizer.encode("a")
        with pytest.raises(ValueError, match="lone surrogate"):
            tokenizer.encode("a\ud800")


@pytest.mark.parametrize(
    ("text", "index"), [(f"a{END}", 1), (f"a\xff\xe9{END}", 3), ("\xff" + END, 1)]
)
def test_an_index_is_that_in_the_whole_text(text: str, index: int) -> None:
    data = text.encode().replace("\xff".encode(), b"\xff")
    for tokenizer in (WARM, twin(WARM)):
        with pytest.raises(ValueError, match=rf"at index {index};"):
            tokenizer.encode_array(data, special="forbid")


def test_batches_report_their_progress() -> None:
    seen: list[tuple[int, int]] = []
    texts = ["some text " * 30_000] * 5
    ids = WARM.encode_batch(texts, num_threads=2, progress=lambda *state: seen.append(state))
    assert ids == [WARM.encode(texts[0])] * 5
    assert seen == sorted(seen)
    assert seen[-1] == (5, 5)
    assert WARM.encode_batch([]) == []
