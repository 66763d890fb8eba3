"""Find the text of a run: files to train on, files to validate on, and a hash of their content.

Stage: *corpus configuration -> text files* -> preparation. Text that has to be joined or divided is
written to the cache folder once; other files are used in place. Not here: tokens.
"""

import hashlib
import json
import os
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from accounting.plural import plural
from trainer.config.run_config import END_OF_TEXT, CorpusConfig
from trainer.data.byte_order_marks import without_mark
from trainer.data.documents import describe_share, hold_out_documents
from trainer.data.held_out import choose_documents, is_near, share_of
from trainer.data.public.datasets import fetch_dataset, require_recorded
from trainer.data.shared_folder import AlteredError, open_or_build
from trainer.data.text_files import MARK, SEPARATOR, TextFile, check_text_file, text_error
from trainer.monitoring.progress import Reporter, format_amount
from trainer.storage.file_format import file_sha256, require_format
from trainer.storage.run_directory import read_json, write_json_atomically

FORMAT, VERSION = "trainer-text", 2

_TEXTS = ("train.txt", "validation.txt")
_RULE = "by bytes"
"""How text is divided; part of the identity of a divided text."""
_NOT_LIBRARY = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "__pycache__"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Checked text, divided into training and validation.

    The end of a file ends a document, as does end-of-text inside it.
    """

    name: str
    train: tuple[TextFile, ...]
    validation: tuple[TextFile, ...]
    notes: tuple[str, ...]
    """Notes on the results: files left out, how the text was divided."""

    @property
    def content_hash(self) -> str:
        """Hash of the bytes of the two texts; names and paths do not matter."""
        return short_hash(
            [[file.sha256 for file in self.train], [file.sha256 for file in self.validation]]
        )

    @property
    def train_bytes(self) -> int:
        """Size of the training text, including separators."""
        return sum(file.size_bytes for file in self.train)

    @property
    def validation_bytes(self) -> int:
        """Size of the validation text, including separators."""
        return sum(file.size_bytes for file in self.validation)


def resolve_corpus(config: CorpusConfig, *, reporter: Reporter) -> Corpus:
    """Find, fetch or assemble the text that `config` names.

    Raises:
        ValueError: an unusable file, too little text to divide, or a failed download.
    """
    is_divided = config.source == "files" and not config.validation
    if config.source == "stdlib":
        text, notes = _standard_library(config, reporter)
    elif is_divided:
        text, notes = _held_out_text(config, reporter)
    elif config.source == "files":
        text, notes = (config.train, config.validation), _repetitions(config)
    else:
        text, notes = fetch_dataset(config, reporter=reporter), ()
    where = {"cache_dir": config.cache_dir, "reporter": reporter}
    check = partial(check_text_file, **where, refuse_binary=not is_divided)
    train, validation = (tuple(map(check, paths)) for paths in text)
    if config.source not in ("stdlib", "files"):
        for file in (*train, *validation):
            require_recorded(file)
    if not is_divided:
        drop = partial(without_mark, **where)
        train, validation = (tuple(map(drop, files)) for files in (train, validation))
    corpus = Corpus(name=config.source, train=train, validation=validation, notes=notes)
    reporter.say(
        f"corpus {corpus.name}: {format_amount(corpus.train_bytes, unit='bytes')} to train on, "
        f"{format_amount(corpus.validation_bytes, unit='bytes')} to validate on"
    )
    for note in notes:
        reporter.say(note)
    return corpus


_Text = tuple[tuple[Path, ...], tuple[Path, ...]]


def _repetitions(config: CorpusConfig) -> tuple[str, ...]:
    """Report likely mistakes: files named twice, validation on training text."""
    train, validation = ([path.resolve() for path in p] for p in (config.train, config.validation))
    twice = sorted({str(path) for p in (train, validation) for path in p if p.count(path) > 1})
    notes = [f"{path} is named twice, so its text counts twice" for path in twice]
    notes += [
        f"{path} is used for both training and validation: the validation loss measures how well "
        "the model remembers, not how well it predicts"
        for path in sorted(set(map(str, train)) & set(map(str, validation)))
    ]
    return tuple(notes)


def _standard_library(config: CorpusConfig, reporter: Reporter) -> tuple[_Text, tuple[str, ...]]:
    """Join the interpreter's own source files, one document each."""
    root = Path(sysconfig.get_path("stdlib"))
    kept: list[tuple[str, bytes]] = []
    left_out: list[str] = []
    for name, data in _library_files(root):
        data = data.removeprefix(MARK)  # as the interpreter reads it
        error = text_error(data, name=name)
        if error is None and SEPARATOR in data:
            error = f"{name} contains {END_OF_TEXT}"
        if error is None:
            kept.append((name, data))
        else:
            left_out.append(error)
    if len(kept) < 2:
        raise ValueError(
            f"{root} has {len(kept)} usable .py files, but training and validation need at least "
            "one each; name files with --corpus.train"
        )
    held, share = _hold_out_files(kept, config.validation_fraction)

    def write(folder: Path) -> list[str]:
        _write_documents(folder / "train.txt", (data for name, data in kept if name not in held))
        _write_documents(folder / "validation.txt", (data for name, data in kept if name in held))
        names = f"left out {len(left_out)}: {'; '.join(left_out)}" if left_out else "none left out"
        return [
            f"standard library: {plural(len(kept), 'file')}, {len(held)} of them "
            f"({describe_share(share, config.validation_fraction)}) for validation; {names}"
        ]

    files = [(name, hashlib.sha256(data).hexdigest()) for name, data in kept]
    identity = ["stdlib", _RULE, config.validation_fraction, files, left_out]
    return _written_once(config.cache_dir, identity, write=write, reporter=reporter)


def _write_documents(path: Path, documents: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for document in documents:
            file.write(document + SEPARATOR)


def _library_files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the relative path and content of each source file, sorted by path."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _NOT_LIBRARY]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    for path in sorted(found, key=lambda path: path.relative_to(root).as_posix()):
        yield path.relative_to(root).as_posix(), path.read_bytes()


def _hold_out_files(kept: list[tuple[str, bytes]], fraction: float) -> tuple[set[str], float]:
    """Return the names of the files to validate on, and their share of the bytes.

    Only names decide, so that all versions of the library are divided alike, unless that gives less
    than half the requested share or more than twice.
    """
    ordered = sorted((_place(name), name, len(data) + len(SEPARATOR)) for name, data in kept)
    names = np.array([name for _, name, _ in ordered], object)
    sizes = np.array([size for _, _, size in ordered], np.int64)
    chosen = np.array([place < fraction * 2**64 for place, _, _ in ordered])
    if not is_near(share_of(sizes, chosen), fraction) or chosen.all():
        chosen = choose_documents(sizes, fraction=fraction)
    return set(names[chosen]), share_of(sizes, chosen)


def _place(name: str) -> int:
    """Hash a name to a number below 2**64.

    >>> [_place(name) < 2**63 for name in ("ast.py", "json/decoder.py", "re/_parser.py")]
    [False, True, False]
    """
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _held_out_text(config: CorpusConfig, reporter: Reporter) -> tuple[_Text, tuple[str, ...]]:
    """Divide the user's files into training and validation text."""
    where = {"cache_dir": config.cache_dir, "reporter": reporter}
    files = [without_mark(check_text_file(path, **where), **where) for path in config.train]

    def write(folder: Path) -> list[str]:
        with reporter.stage("divide documents"):
            note = hold_out_documents(
                [file.path for file in files],
                fraction=config.validation_fraction,
                train=folder / "train.txt",
                validation=folder / "validation.txt",
            )
        return [note]

    identity = ["files", _RULE, config.validation_fraction, [file.sha256 for file in files]]
    return _written_once(config.cache_dir, identity, write=write, reporter=reporter)


def _written_once(
    cache_dir: Path, identity: list, *, write: Callable[[Path], list[str]], reporter: Reporter
) -> tuple[_Text, tuple[str, ...]]:
    """Return the text in a folder named by the identity of its sources; write it if missing."""

    def build(folder: Path) -> None:
        notes = write(folder)
        hashes = {name: file_sha256(folder / name) for name in _TEXTS}
        document = {"format": FORMAT, "version": VERSION, "notes": notes, "sha256": hashes}
        write_json_atomically(folder / "text.json", document)

    folder = cache_dir / f"text-{short_hash([VERSION, *identity])}"
    notes, _ = open_or_build(folder, read=_read_notes, build=build, reporter=reporter)
    return ((folder / "train.txt",), (folder / "validation.txt",)), notes


def _read_notes(folder: Path) -> tuple[str, ...]:
    path = folder / "text.json"
    document = read_json(path)
    require_format(document, name=FORMAT, version=VERSION, source=path)
    hashes, notes = document.get("sha256"), document.get("notes")
    if not isinstance(hashes, dict) or not isinstance(notes, list):
        raise ValueError(f"{path} lacks hashes or notes")
    for name in _TEXTS:
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing")
        if file_sha256(folder / name) != hashes.get(name):
            raise AlteredError(f"{folder / name} is not the text that was written there")
    return tuple(map(str, notes))


def short_hash(identity: list) -> str:
    """Hash a JSON value to 16 hex digits."""
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
