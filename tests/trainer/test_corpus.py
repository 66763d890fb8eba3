import gzip
import os
import sysconfig
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainer.config.run_config import CorpusConfig
from trainer.data import documents, text_files
from trainer.data.corpus import Corpus, resolve_corpus
from trainer.data.documents import iter_pieces
from trainer.monitoring.progress import Reporter

END = b"<|endoftext|>"


class Listener(Reporter):
    def __init__(self) -> None:
        super().__init__(mode="silent")
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def resolve(cache_dir: Path, *, reporter: Reporter | None = None, **fields: object) -> Corpus:
    config = CorpusConfig(cache_dir=cache_dir / "cache", **fields)
    return resolve_corpus(config, reporter=reporter or Listener())


def read(files: tuple[text_files.TextFile, ...]) -> bytes:
    return b"".join(file.path.read_bytes() for file in files)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small standard library."""
    root = tmp_path / "library"
    contents = {f"module_{i}.py": f"x = {i}\n".encode() for i in range(40)}
    contents |= {
        "package/__init__.py": b"",
        "package/test/test_it.py": b"tested",
        "tests/test_that.py": b"tested",
        "idlelib/editor.py": b"edited",
        "site-packages/installed.py": b"installed",
        "package/notes.txt": b"no code",
        "latin.py": b"# caf\xe9\n",
        "separator.py": b"EOT = '" + END + b"'\n",
    }
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root))
    return root


def test_standard_library_is_one_document_a_file_in_order_of_path(library: Path, tmp_path: Path):
    corpus = resolve(tmp_path, source="stdlib", validation_fraction=0.2)
    train, validation = (
        read(part).removesuffix(END).split(END) for part in (corpus.train, corpus.validation)
    )
    wanted = [b"x = %d\n" % i for i in range(40)]
    assert sorted(train + validation) == sorted([*wanted, b""])
    by_path = [b"x = %d\n" % i for i in sorted(range(40), key=str)]
    assert [text for text in train if text] == [text for text in by_path if text in train]
    assert 1 <= len(validation) <= 20


def test_unusable_library_files_are_counted_and_named(library: Path, tmp_path: Path):
    corpus = resolve(tmp_path, source="stdlib", validation_fraction=0.2)
    (note,) = corpus.notes
    assert "41 files" in note
    assert "left out 2: latin.py is not UTF-8: byte 0xe9 at offset 5" in note
    assert "separator.py contains <|endoftext|>" in note


def test_new_library_file_moves_no_other_between_the_texts(library: Path, tmp_path: Path):
    before = read(resolve(tmp_path, source="stdlib", validation_fraction=0.2).validation)
    (library / "aaa.py").write_bytes(b"new\n")
    after = read(resolve(tmp_path, source="stdlib", validation_fraction=0.2).validation)
    assert after.replace(b"new\n" + END, b"") == before


def test_real_standard_library_is_found(tmp_path: Path):
    corpus = resolve(tmp_path, source="stdlib")
    assert 5e6 < corpus.train_bytes < 40e6
    assert 0.005 < corpus.validation_bytes / corpus.train_bytes < 0.2


def test_named_files_are_used_where_they_lie(tmp_path: Path):
    train, validation = tmp_path / "a.txt", tmp_path / "b.txt"
    train.write_text("one<|endoftext|>two<|endoftext|>\n")
    validation.write_text("three")
    corpus = resolve(tmp_path, source="files", train=(train,), validation=(validation,))
    assert (corpus.train[0].path, corpus.validation[0].path) == (train, validation)
    assert (corpus.train[0].ends_with_separator, corpus.validation[0].ends_with_separator) == (
        True,
        False,
    )


def test_content_hash_follows_from_content_not_from_names(tmp_path: Path):
    def content_hash(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        return resolve(tmp_path, source="files", train=(path,), validation=(path,)).content_hash

    assert content_hash("a.txt", "same") == content_hash("b.txt", "same")
    assert content_hash("a.txt", "same") != content_hash("a.txt", "other")


def test_stated_share_of_the_documents_is_held_out(tmp_path: Path):
    texts = [f"document {i}\n" for i in range(100)]
    path = tmp_path / "a.txt"
    path.write_text("<|endoftext|>".join(texts))
    reporter = Listener()
    corpus = resolve(
        tmp_path, source="files", train=(path,), validation_fraction=0.1, reporter=reporter
    )
    train, validation = (
        read(part).decode().removesuffix("<|endoftext|>").split("<|endoftext|>")
        for part in (corpus.train, corpus.validation)
    )
    assert (len(train), len(validation)) == (90, 10)
    assert sorted(train + validation) == sorted(texts)
    assert any("10 of 100 documents" in line for line in reporter.lines)


def test_held_out_documents_do_not_depend_on_the_order_of_files(tmp_path: Path):
    paths = []
    for name in ("a", "b"):
        paths.append(tmp_path / f"{name}.txt")
        paths[-1].write_text("<|endoftext|>".join(f"{name} {i}" for i in range(50)))
    one, other = (
        read(resolve(tmp_path, source="files", train=order).validation)
        for order in (tuple(paths), tuple(reversed(paths)))
    )
    assert sorted(one.split(END)) == sorted(other.split(END))


def test_single_document_gives_up_its_end_from_a_line_on(tmp_path: Path):
    text = "".join(f"line {i}\n" for i in range(1000))
    path = tmp_path / "a.txt"
    path.write_text(text)
    corpus = resolve(tmp_path, source="files", train=(path,))
    train, validation = (
        read(part).decode().removesuffix("<|endoftext|>")
        for part in (corpus.train, corpus.validation)
    )
    assert train + validation == text
    assert validation.startswith("line ")
    assert len(validation) / len(text) == pytest.approx(0.05, abs=0.002)
    assert "1 document cannot give up 5.0%" in corpus.notes[0]


def test_border_far_from_the_wanted_place_is_found_backwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(documents, "_CHUNK_BYTES", 16)
    path = tmp_path / "a.txt"
    path.write_text("short\n" + "x" * 500 + "\n")
    corpus = resolve(tmp_path, source="files", train=(path,))
    assert read(corpus.train) == b"short\n" + END


def test_single_line_cannot_be_divided(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("x" * 500)
    with pytest.raises(ValueError, match="one line of 500 bytes: no place to hold out"):
        resolve(tmp_path, source="files", train=(path,))
    names = [name.name for name in (tmp_path / "cache").iterdir() if name.name[0] != "."]
    assert names == []


def test_divided_text_is_written_once(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\nthree\n" * 100)
    first = resolve(tmp_path, source="files", train=(path,))
    stamp = first.train[0].path.stat().st_mtime_ns
    again = resolve(tmp_path, source="files", train=(path,))
    assert again == first
    assert again.train[0].path.stat().st_mtime_ns == stamp


def test_altered_divided_text_is_refused(tmp_path: Path):
    path = tmp_path / "corpus.txt"
    path.write_text("one line\n" * 100)
    train = resolve(tmp_path, source="files", train=(path,)).train[0].path
    train.write_text(train.read_text().replace("one", "two"))
    with pytest.raises(ValueError, match="is not the text that was written there; remove"):
        resolve(tmp_path, source="files", train=(path,))


@pytest.mark.parametrize("record", ["{", "[]", '{"format": "trainer-text", "version": 2}'])
def test_divided_text_with_a_damaged_record_is_built_again(tmp_path: Path, record: str):
    path, reporter = tmp_path / "corpus.txt", Listener()
    path.write_text("one line\n" * 100)
    corpus = resolve(tmp_path, source="files", train=(path,))
    (corpus.train[0].path.parent / "text.json").write_text(record)
    again = resolve(tmp_path, reporter=reporter, source="files", train=(path,))
    assert again.content_hash == corpus.content_hash
    assert any("is damaged and is built again" in line for line in reporter.lines)


def test_blank_documents_are_neither_counted_nor_held_out(tmp_path: Path):
    path = tmp_path / "corpus.txt"
    documents = [f"document {i}\n".encode() for i in range(40)]
    path.write_bytes(END + (END + END + b"\n" + END).join(documents) + END + b"\n")
    corpus = resolve(tmp_path, source="files", train=(path,), validation_fraction=0.1)
    assert "4 of 40 documents" in corpus.notes[0]
    held = [document for document in read(corpus.validation).split(END) if document]
    assert len(held) == 4
    assert all(document.strip() for document in held)


def test_equal_documents_are_held_out_together_or_not_at_all(tmp_path: Path):
    path = tmp_path / "corpus.txt"
    documents = [f"document {i // 3}\n".encode() for i in range(90)]
    path.write_bytes(END.join(documents))
    corpus = resolve(tmp_path, source="files", train=(path,), validation_fraction=0.12)
    train, held = (
        set(read(files).split(END)) - {b""} for files in (corpus.train, corpus.validation)
    )
    assert len(held) == 3
    assert not train & held


def test_text_of_separators_alone_is_refused(tmp_path: Path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(END * 5 + b"\n")
    with pytest.raises(ValueError, match="nothing but white space"):
        resolve(tmp_path, source="files", train=(path,))


def test_file_named_twice_or_on_both_sides_is_noted(tmp_path: Path):
    path = tmp_path / "corpus.txt"
    path.write_text("one line\n" * 100)
    twice, both = resolve(tmp_path, source="files", train=(path, path), validation=(path,)).notes
    assert "is named twice" in twice
    assert "is used for both training and validation" in both


@pytest.mark.parametrize("chunk_bytes", [1, 5, 13, 14, 1000])
def test_separators_are_found_across_chunks(tmp_path: Path, chunk_bytes: int):
    texts = [b"one", b"", b"<|endof<|endoftext", b"a" * 40, b"two"]
    path = tmp_path / "a.txt"
    path.write_bytes(END.join(texts))
    found = [b""]
    for piece, is_end in iter_pieces(path, chunk_bytes=chunk_bytes):
        found[-1] += piece
        if is_end:
            found.append(b"")
    assert found == [*texts, b""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.txt is empty"),
        (b"caf\xe9!", r"a\.txt is not UTF-8: byte 0xe9 at offset 3 \(invalid continuation byte\)"),
        (b"x" * 2_000_000 + b"\xe2\x82", r"byte 0xe2 at offset 2000000 \(unexpected end of data\)"),
        (b"ab\0cd", r"a\.txt looks binary: byte 0x00 at offset 2"),
    ],
)
def test_unusable_file_is_refused_by_name_and_byte(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        resolve(tmp_path, source="files", train=(path,))


@pytest.mark.parametrize("split", range(1, 4))
def test_bad_byte_is_named_when_a_chunk_ends_inside_its_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: int
):
    monkeypatch.setattr(text_files, "_CHUNK_BYTES", split)
    path = tmp_path / "a.txt"
    path.write_bytes("grün ".encode() + b"\xf0\x9f\x98 ")
    with pytest.raises(ValueError, match="byte 0xf0 at offset 6 "):
        resolve(tmp_path, source="files", train=(path,))


def test_nul_further_on_is_text(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"line\n" * 5000 + b"\0\n")
    assert resolve(tmp_path, source="files", train=(path,)).train_bytes > 0


def test_missing_file_and_folder_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nowhere\.txt is missing"):
        resolve(tmp_path, source="files", train=(tmp_path / "nowhere.txt",))
    with pytest.raises(ValueError, match="is a folder"):
        resolve(tmp_path, source="files", train=(tmp_path,))


def test_large_file_is_read_again_only_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text_files, "_REMEMBERED_BYTES", 1)
    path, reads = tmp_path / "a.txt", []
    monkeypatch.setattr(
        text_files,
        "_read",
        lambda p, r, inner=text_files._read, **how: (reads.append(p), inner(p, r, **how))[1],
    )
    path.write_text("one")
    first = resolve(tmp_path, source="files", train=(path,), validation=(path,))
    assert len(reads) == 1
    assert resolve(tmp_path, source="files", train=(path,), validation=(path,)) == first
    assert len(reads) == 1
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert resolve(tmp_path, source="files", train=(path,), validation=(path,)) != first
    assert len(reads) == 2


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_tinystories_come_from_the_mirror_and_are_reused(tmp_path: Path, mirror: tuple[str, Path]):
    url, folder = mirror
    (folder / "TinyStoriesV2-GPT4-train.txt").write_bytes(b"once" + END)
    (folder / "TinyStoriesV2-GPT4-valid.txt").write_bytes(b"upon" + END)
    first = resolve(tmp_path, source="tinystories", mirror=url)
    assert (read(first.train), read(first.validation)) == (b"once" + END, b"upon" + END)
    for path in folder.iterdir():
        path.unlink()
    assert resolve(tmp_path, source="tinystories", mirror=url) == first


def test_owt_is_unpacked_once_and_the_archive_removed(tmp_path: Path, mirror: tuple[str, Path]):
    url, folder = mirror
    for name, text in (("owt_train.txt.gz", b"train\n" * 1000), ("owt_valid.txt.gz", b"valid\n")):
        (folder / name).write_bytes(gzip.compress(text))
    first = resolve(tmp_path, source="owt", mirror=url)
    assert (read(first.train), read(first.validation)) == (b"train\n" * 1000, b"valid\n")
    assert list((tmp_path / "cache" / "downloads").glob("*.gz")) == []
    for path in folder.iterdir():
        path.unlink()
    assert resolve(tmp_path, source="owt", mirror=url) == first


def test_cut_archive_is_refused(tmp_path: Path, mirror: tuple[str, Path]):
    url, folder = mirror
    (folder / "owt_train.txt.gz").write_bytes(gzip.compress(bytes(range(128)) * 100)[:-20])
    with pytest.raises(ValueError, match=r"owt_train\.txt\.gz is not a complete gzip file"):
        resolve(tmp_path, source="owt", mirror=url)
    assert list((tmp_path / "cache" / "downloads").glob("*.txt")) == []


@pytest.mark.parametrize("source", ["tinystories", "owt"])
def test_downloaded_text_that_was_altered_is_refused(
    tmp_path: Path, mirror: tuple[str, Path], source: str
):
    url, folder = mirror
    for name in ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"):
        (folder / name).write_bytes(b"once" + END)
    for name in ("owt_train.txt.gz", "owt_valid.txt.gz"):
        (folder / name).write_bytes(gzip.compress(b"once"))
    train = resolve(tmp_path, source=source, mirror=url).train[0].path
    train.write_bytes(train.read_bytes().replace(b"o", b"0"))
    with pytest.raises(ValueError, match="it was altered since; remove it"):
        resolve(tmp_path, source=source, mirror=url)


@pytest.mark.parametrize("memory", ["{", "[]", '{"format": 1}', b"\xff"])
def test_damaged_memory_of_checked_files_counts_as_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str | bytes
):
    monkeypatch.setattr(text_files, "_REMEMBERED_BYTES", 1)
    path, cache = tmp_path / "a.txt", tmp_path / "cache" / "text-files.json"
    path.write_text("one")
    cache.parent.mkdir()
    cache.write_bytes(memory if isinstance(memory, bytes) else memory.encode())
    first = resolve(tmp_path, source="files", train=(path,), validation=(path,))
    assert resolve(tmp_path, source="files", train=(path,), validation=(path,)) == first
    assert "trainer-text-files" in cache.read_text()
