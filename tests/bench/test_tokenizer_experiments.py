"""Tokenizer experiments: what is held out, what is counted, and one whole run."""

import argparse
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.cli import main
from bench.contestants import ours
from bench.measurement.harness import Summary
from bench.texts.corpora import Corpus, named_corpus
from bench.tokenizers import subject as tokenizer_experiments
from bench.tokenizers import tasks, vocabularies
from bench.tokenizers.compression import compress
from bench.tokenizers.findings import Speed
from bench.tokenizers.texts import divide
from bpe import count_documents, vocabulary_from_counts
from tokenizer import Tokenizer

END = "<|endoftext|>"
WORDS = [
    "the",
    "parser",
    "reads",
    "a",
    "line",
    "and",
    "the",
    "writer",
    "writes",
    "another",
    "line",
    "of",
    "text",
]


def _document(number: int, size_words: int = 250) -> str:
    words = (f"{WORDS[(number * k + k) % len(WORDS)]}{number}" for k in range(size_words))
    return f"Document {number}: " + " ".join(words)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    documents = [_document(number) for number in range(60)] + ["  \n", "short"]
    (tmp_path / "words.txt").write_text(END.join(documents), encoding="utf-8")
    return named_corpus(tmp_path / "words.txt", tmp_path)


def test_every_document_that_is_not_blank_is_in_one_of_the_texts(
    corpus: Corpus, tmp_path: Path
) -> None:
    texts = divide(corpus, tmp_path / "kept", seed=1)
    train, held = (path.read_text().split(END) for path in (texts.train, texts.validation))
    assert (train.pop(), held.pop()) == ("", "")  # every document is ended, the last one too
    whole = corpus.path.read_text().split(END)
    assert sorted(train + held) == sorted(text for text in whole if text.strip())
    assert held == texts.held_out
    assert (len(held), texts.num_train_documents) == (3, 58)
    assert texts.train_bytes + texts.held_out_bytes == sum(map(len, train + held))


def test_the_seed_alone_decides_what_is_held_out_and_drawn(corpus: Corpus, tmp_path: Path) -> None:
    one, two, other = (
        divide(corpus, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.train.read_bytes() == two.train.read_bytes()
    assert one.draw(2, seed=3) == two.draw(2, seed=3)
    assert one.held_out != other.held_out


def test_more_documents_than_are_held_out_cannot_be_drawn(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="held-out documents of 1000 bytes or more, but 10"):
        divide(corpus, tmp_path / "kept", seed=1).draw(10, seed=1)


def test_a_corpus_of_few_documents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("one" + END + "two")
    with pytest.raises(ValueError, match="few has 2 documents, too few to hold out a twentieth"):
        divide(named_corpus(tmp_path / "few.txt", tmp_path), tmp_path / "kept", seed=1)


def test_compression_counts_the_tokens_of_each_document(corpus: Corpus, tmp_path: Path) -> None:
    texts = divide(corpus, tmp_path / "kept", seed=1)
    tokenizers = {"bytes": _tokenizer([], 257), "words": _tokenizer([_document(0)], 300)}
    *each, drawn, whole = compress(texts, tokenizers, num_drawn=2, seed=5)
    assert [one.tokens["bytes"] for one in each] == [one.num_bytes for one in each]
    assert drawn.tokens["words"] == sum(one.tokens["words"] for one in each)
    expected = sum(len(tokenizers["words"].encode(text)) for text in texts.held_out)
    assert (whole.tokens["words"], whole.num_bytes) == (expected, texts.held_out_bytes)
    assert whole.ratio("words") > whole.ratio("bytes") == 1


def _tokenizer(documents: list[str], size: int) -> Tokenizer:
    counts = count_documents(documents, [END])
    return Tokenizer.from_vocabulary(vocabulary_from_counts(counts, size))


def test_a_truncated_vocabulary_is_what_a_smaller_training_gives() -> None:
    counts = count_documents([_document(number) for number in range(5)], [END])
    large, small = (vocabulary_from_counts(counts, size) for size in (400, 300))
    assert vocabularies.truncate(large, 300).fingerprint == small.fingerprint


def test_contents_count_what_merges_made() -> None:
    counts = count_documents(["if x:\n        y = 1000\n        z = 1000\n" * 9], [END])
    vocabulary = vocabulary_from_counts(counts, 268)
    found = vocabularies.contents(vocabulary)
    tokens = vocabularies.learnt(vocabulary)
    assert found.num_learnt == len(tokens) == sum(found.kinds.values()) == 11
    assert found.longest_spaces == max(len(t) for t in tokens if not t.strip(b" "))
    assert found.kinds["digits"] == sum(found.digits_by_length.values()) >= 2
    assert found.indentations >= 2
    assert found.largest_id == 267


def test_tokens_only_in_one_are_those_that_no_later_merge_took_up() -> None:
    one, other = (
        vocabulary_from_counts(count_documents([text], [END]), 261)
        for text in ("self self self self", "the other thing, the other the")
    )
    assert vocabularies.learnt(one) == [b"se", b"sel", b"self", b" self"]
    assert vocabularies.only_in(one, other, count=9) == [b" self"]
    assert vocabularies.only_in(one, one, count=9) == []
    assert vocabularies.num_shared(one, other) == vocabularies.num_shared(other, one) == 0


def test_longest_words_are_of_letters_alone() -> None:
    text = "-------- parsing parsing 12345678 12345678 aaaaaaaa_b aaaaaaaa_b"
    vocabulary = vocabulary_from_counts(count_documents([text], [END]), 290)
    assert vocabularies.longest_words(vocabulary, count=1) == [b" aaaaaaaa"]
    words = vocabularies.longest_words(vocabulary, count=99)
    assert all(word.strip().isalpha() for word in words)
    assert len(words) < len(vocabularies.learnt(vocabulary))


def test_longest_tokens_are_counted_in_the_training_text(tmp_path: Path) -> None:
    documents = ["-" * 8 + " word", "-" * 4 + " word", "another"]
    (tmp_path / "train.txt").write_text(END.join(documents))
    vocabulary = vocabulary_from_counts(count_documents(documents, [END]), 265)
    (first, *_) = vocabularies.longest(vocabulary, tmp_path / "train.txt", count=3)
    text = (tmp_path / "train.txt").read_bytes()
    assert first.occurrences == text.count(first.token) > 0
    assert first.documents == sum(first.token in one.encode() for one in documents)


def test_the_pile_takes_as_long_as_its_size_says() -> None:
    speed = Speed("a", "b", 1, 1_000_000, Summary.of([0.5, 0.25, 9.0]), 10)
    assert speed.bytes_per_second == 2e6
    assert speed.pile_seconds == 825e9 / 2e6


def test_the_stages_of_a_training_are_all_of_it(corpus: Corpus, tmp_path: Path) -> None:
    texts = divide(corpus, tmp_path / "words", seed=1)
    arguments = {"file": str(texts.train), "vocab_size": 300, "folder": str(tmp_path / "t")}
    outcome = tasks.train(ours, num_threads=1, **arguments)
    metrics = outcome["metrics"]
    assert all(metrics[stage] >= 0 for stage in tasks.STAGES)
    between = sum(metrics[stage] for stage in tasks.STAGES[1:-1])
    assert metrics["train"] == pytest.approx(between)
    assert Tokenizer.load(tmp_path / "t").vocab_size == 300
    assert outcome["peak_bytes"] >= metrics["bytes counted"] >= metrics["bytes before"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocab-sizes", "300"], "name two sizes"),
        (["--vocab-sizes", "200,300"], "name two sizes"),
        (["--vocab-sizes", "300,many"], "'many'; must be a whole number"),
        (["--threads", "0"], "name numbers of threads"),
        (["--threads", "two"], "'two'; must be a whole number"),
        (["--rounds", "0"], "must be at least 1"),
        (["--texts"], "name one with --keep"),
    ],
)
def test_a_users_mistake_is_told(
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "tokenizer-experiments", *options])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert message in capsys.readouterr().err


def _small(name: str, tmp_path: Path) -> Corpus:
    style = "    def {}(self): return {}\n" if name == "python" else "It reads {} and writes {}. "
    documents = ["".join(style.format(word, number) for word in WORDS * 4) for number in range(400)]
    (tmp_path / f"{name}.txt").write_text(END.join(documents), encoding="utf-8")
    return named_corpus(tmp_path / f"{name}.txt", tmp_path)


def test_a_whole_run_says_all_that_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        tokenizer_experiments, "built_corpus", lambda name, *_, **__: _small(name, tmp_path)
    )
    monkeypatch.setattr("bench.measurement.harness.run_order", _run_here)
    monkeypatch.setenv("COLUMNS", "200")
    options = ("--keep", tmp_path / "kept", "--json", tmp_path / "x.json", "--svg", tmp_path)
    sizes = ("--vocab-sizes", "300,340", "--rounds", "1", "--threads", "1", "--patience", "0")
    words = ["bench", "tokenizer-experiments", *map(str, options), *sizes]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="0"):
        main()
    out = capsys.readouterr().out
    for title in ("bytes per token", "longest tokens", "training: median", "825 GB take"):
        assert title in out
    content = json.loads((tmp_path / "x.json").read_text())
    assert len(content["compression"]) == 2 * 12
    assert [*content["contents"]] == ["python 300", "english 340", "english 300"]
    assert content["contents"]["english 340"]["largest_id"] == 339
    assert len(content["speeds"]) == 4
    assert len(content["longest_words"]["english 340"]) == 10
    assert str(tmp_path) not in json.dumps(content)
    for name in ("compression", "kinds", "stages"):
        marks = ElementTree.parse(tmp_path / f"tokenizers-{name}.svg").findall("{*}circle")
        assert len(marks) > 8


def _run_here(order):
    """Take a sample in this process: what is tested is not the harness."""
    from importlib import import_module

    from bench.measurement.harness import Sample

    task = getattr(import_module(order.tasks), order.task)
    return Sample(**task(ours, num_threads=order.num_threads, **order.arguments))


def test_different_vocabularies_on_different_threads_are_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.measurement.harness import Sample

    found = iter("abcd")

    def run(order):
        metrics = {"train": 1.0}
        name = next(iter(order.arguments))
        return Sample(metrics=metrics, digests={f"vocabulary by {name}": next(found, "e")})

    monkeypatch.setattr(
        tokenizer_experiments, "built_corpus", lambda name, *_, **__: _small(name, tmp_path)
    )
    monkeypatch.setattr("bench.measurement.harness.run_order", run)
    arguments = argparse.Namespace(
        keep=tmp_path / "kept", texts=False, megabytes=None, vocab_sizes=(300, 340), seed=1,
        rounds=1, threads=(1,), json=None, svg=None, cache_dir=tmp_path, patience=0,
    )  # fmt: skip
    assert tokenizer_experiments.run(arguments) == 1
    assert re.search(r"PROBLEM: vocabulary by file differ", capsys.readouterr().err)
