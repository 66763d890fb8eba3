"""Corpora: the same bytes each time, of what can be read."""

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.texts import corpora
from bench.texts.corpora import built_corpus, named_corpus
from bench.tokenization.tasks import short_texts


def _catalogue(messages: dict[str, str]) -> bytes:
    """A compiled gettext catalogue."""
    pairs = sorted((key.encode(), value.encode()) for key, value in messages.items())
    start = 28 + 16 * len(pairs)
    tables: list[list[int]] = [[], []]
    data = b""
    for column in (0, 1):
        for pair in pairs:
            tables[column] += [len(pair[column]), start + len(data)]
            data += pair[column] + b"\0"
    header = (0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return struct.pack(f"<7I{4 * len(pairs)}I", *header, *tables[0], *tables[1]) + data


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "site-packages"
    root.mkdir()
    docstring = "Say what this module is good for, in more than forty characters."
    (root / "a.py").write_text(f'"""{docstring}"""\nx = 1\n')
    (root / "b.py").write_text("def f():\n    return '<|endoftext|>'\n")
    (root / "c.py").write_bytes(b"# \xff is no UTF-8\n")
    (root / "d.py").write_text("this is not Python\n")
    (root / "README.md").write_text("# Read me\n")
    header = "Content-Type: text/plain; charset=UTF-8\n"
    (root / "de.mo").write_bytes(_catalogue({"": header, "tree": "B\u00e4ume wachsen"}))
    (root / "broken.mo").write_bytes(b"no catalogue")

    def files(suffix: str) -> Iterator[tuple[Path, Path]]:
        yield from ((root, path) for path in sorted(root.rglob(f"*{suffix}")))

    monkeypatch.setattr(corpora, "_package_files", files)
    monkeypatch.setattr(corpora, "_SYSTEM_CATALOGUES", tmp_path / "nowhere")
    return root


def test_python_is_all_files_that_are_utf8_and_hold_no_separator(
    packages: Path, tmp_path: Path
) -> None:
    corpus = built_corpus("python", tmp_path / "cache")
    documents = corpus.path.read_text().split("<|endoftext|>")
    assert sorted(document.splitlines()[-1] for document in documents) == [
        "this is not Python",
        "x = 1",
    ]
    assert corpus.num_documents == 2


def test_english_is_docstrings_and_readmes(packages: Path, tmp_path: Path) -> None:
    text = built_corpus("english", tmp_path / "cache").path.read_text()
    assert "Say what this module is good for" in text
    assert "# Read me" in text
    assert "x = 1" not in text


def test_multilingual_is_translations_not_messages(packages: Path, tmp_path: Path) -> None:
    text = built_corpus("multilingual", tmp_path / "cache").path.read_text()
    assert "B\u00e4ume wachsen" in text
    assert "tree" not in text


def test_a_corpus_is_built_once_and_recorded(packages: Path, tmp_path: Path) -> None:
    first = built_corpus("python", tmp_path / "cache")
    (packages / "e.py").write_text("later\n")
    assert built_corpus("python", tmp_path / "cache") == first
    record = json.loads(first.path.with_suffix(".json").read_text())
    assert record["sha256"] == hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert record["size_bytes"] == first.path.stat().st_size
    assert "path" not in record


def test_another_cache_gets_the_same_bytes(packages: Path, tmp_path: Path) -> None:
    one, two = (built_corpus("python", tmp_path / name) for name in ("one", "two"))
    assert one.sha256 == two.sha256


def test_a_limit_ends_the_corpus(packages: Path, tmp_path: Path) -> None:
    assert built_corpus("python", tmp_path / "cache", limit_bytes=10).num_documents == 1


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"a\xff", "byte 1")])
def test_a_named_file_without_text_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        named_corpus(tmp_path / "x.txt", tmp_path)


def test_a_named_file_is_used_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("B\u00e4ume\n", encoding="utf-8")
    corpus = named_corpus(tmp_path / "x.txt", tmp_path / "cache")
    assert (corpus.path, corpus.name) == (tmp_path / "x.txt", "x")


def test_lines_that_unicode_versions_cut_differently_are_left_out(tmp_path: Path) -> None:
    # Never assigned; letters of Unicode 17 are treated alike.
    (tmp_path / "x.txt").write_text("a\n\U0003fffd\nb\n", encoding="utf-8")
    corpus = named_corpus(tmp_path / "x.txt", tmp_path / "cache")
    assert corpus.path.read_text() == "a\nb\n"
    assert "less 1 line " in corpus.source


def test_short_texts_are_of_one_length_and_all_different(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(500))
    (tmp_path / "x.txt").write_text(f"{words}<|endoftext|>{words}")
    texts = short_texts(tmp_path / "x.txt", 20, 300)
    assert len(set(texts)) == len(texts) == 300
    assert {len(text) for text in texts} == {20}
    assert texts == short_texts(tmp_path / "x.txt", 20, 300)
