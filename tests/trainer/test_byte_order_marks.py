"""A byte-order mark at the beginning of a corpus file is dropped and reported, in every file."""

import codecs
from pathlib import Path

import pytest
from faults.tiny_run import tiny_config

from trainer.config.run_config import CorpusConfig
from trainer.data.corpus import Corpus, resolve_corpus
from trainer.data.preparation import prepare
from trainer.monitoring.progress import Reporter

MARK, END = codecs.BOM_UTF8, b"<|endoftext|>"


class _Listener(Reporter):
    def __init__(self) -> None:
        super().__init__(mode="silent")
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def _resolve(folder: Path, **fields: object) -> tuple[Corpus, list[str]]:
    listener = _Listener()
    config = CorpusConfig(source="files", cache_dir=folder / "cache", **fields)
    return resolve_corpus(config, reporter=listener), listener.lines


def _texts(folder: Path, mark: bytes) -> dict[str, tuple[Path, ...]]:
    folder.mkdir()
    paths = [folder / name for name in ("a.txt", "b.txt", "c.txt")]
    for number, path in enumerate(paths):
        path.write_bytes(mark + b"".join(b"%d line\n" % (100 * number + i) for i in range(50)))
    return {"train": tuple(paths[:2]), "validation": (paths[2],)}


@pytest.mark.parametrize("is_held_out", [False, True])
def test_marks_of_all_files_are_dropped_and_reported(tmp_path: Path, is_held_out: bool) -> None:
    marked, plain = (_texts(tmp_path / name, mark) for name, mark in (("m", MARK), ("p", b"")))
    if is_held_out:
        marked, plain = ({"train": (*one["train"], *one["validation"])} for one in (marked, plain))
    corpus, said = _resolve(tmp_path, **marked)
    same, silent = _resolve(tmp_path, **plain)
    assert corpus.content_hash == same.content_hash
    assert not any("byte-order" in line for line in silent)
    for path in (path for paths in marked.values() for path in paths):
        assert f"{path} begins with a byte-order mark, which is dropped" in said
    for file in (*corpus.train, *corpus.validation):
        assert MARK not in file.path.read_bytes()


def test_a_mark_inside_of_a_text_is_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(MARK + MARK + b"one\n" + END + MARK + b"two\n")
    corpus, _ = _resolve(tmp_path, train=(path,), validation=(path,))
    assert corpus.train[0].path.read_bytes() == MARK + b"one\n" + END + MARK + b"two\n"


def test_a_file_of_a_mark_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(MARK)
    with pytest.raises(ValueError, match=r"a\.txt is empty except for a byte-order mark"):
        _resolve(tmp_path, train=(path,))


def test_an_altered_copy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(MARK + b"some text\n")
    corpus, _ = _resolve(tmp_path, train=(path,), validation=(path,))
    corpus.train[0].path.write_bytes(b"more text\n")
    with pytest.raises(ValueError, match=r"is not the text of .*a\.txt; remove .* built again"):
        _resolve(tmp_path, train=(path,), validation=(path,))


def test_tokens_of_a_marked_text_are_those_of_the_text(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    plain = prepare(config, reporter=Reporter(mode="silent")).hashes()
    text = config.corpus.train[0]
    text.write_bytes(MARK + text.read_bytes())
    assert prepare(config, reporter=Reporter(mode="silent")).hashes() == plain
