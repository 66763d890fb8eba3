"""Build or read the corpora to measure on.

Stage: installed packages, or named files -> *corpora*. A corpus is built once per set of installed
packages, into a cache folder, with the same bytes each time. Not here: hostile text
(`contests.growth`).
"""

import ast
import gettext
import hashlib
import json
import sys
import sysconfig
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from bench.durable import write_atomically, write_json
from bench.texts.vocabulary import END_OF_TEXT
from bpe.messages.plural import plural
from bpe.unicode_classes import class_members

FORMAT, VERSION = "bench-corpus", 2
_SEPARATOR = END_OF_TEXT.encode()
_SHORTEST_DOCSTRING = 40  # characters
_SYSTEM_CATALOGUES = Path("/usr/share/locale")


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """One text file of documents joined by <|endoftext|>."""

    name: str
    path: Path
    size_bytes: int
    sha256: str
    num_documents: int
    wanted_bytes: int
    """Size of a full corpus of this kind; the report mentions a smaller one."""
    source: str
    """Description of where the text comes from."""

    def to_json(self) -> dict[str, object]:
        """Return the fields for a report, without paths of this machine."""
        return {k: v for k, v in asdict(self).items() if k != "path"}


@dataclass(frozen=True, slots=True)
class _Kind:
    documents: Callable[[], Iterator[tuple[str, bytes]]]
    wanted_bytes: int
    source: str


def named_corpus(path: Path, cache_dir: Path) -> Corpus:
    """Read a file that the user named, without lines on which contestants may disagree.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is empty, or not UTF-8.
    """
    data = path.read_bytes()
    if not data:
        raise ValueError(f"{path} is empty; name a file with text")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 at byte {error.start}; convert it first") from None
    source = "a named file"
    if not _is_settled(text):
        lines = text.splitlines(keepends=True)
        kept = [line for line in lines if _is_settled(line)]
        less = plural(len(lines) - len(kept), "line")
        source += f", less {less} with code points too new for some"
        data = "".join(kept).encode()
        if not data:
            raise ValueError(f"{path} has no line that all contestants split alike; name another")
        path = cache_dir / f"{path.stem}-{hashlib.sha256(data).hexdigest()[:12]}.txt"
        write_atomically(path, data)
    return _describe(path.stem, path, data, 0, source)


def built_corpus(name: str, cache_dir: Path, *, limit_bytes: int | None = None) -> Corpus:
    """Build a corpus of this machine's packages, or return the cached one.

    Documents are taken in the order of the hashes of their names until there are enough, so any
    part of them is a fair sample.
    """
    kind = KINDS[name]
    limit = min(kind.wanted_bytes, limit_bytes or kind.wanted_bytes)
    key = hashlib.sha256(f"{VERSION} {limit} {_installed()}".encode()).hexdigest()[:12]
    path = cache_dir / f"{name}-{key}.txt"
    record = path.with_suffix(".json")
    if not (path.is_file() and record.is_file()):
        data = _join(kind.documents(), limit)
        write_atomically(path, data)
        recorded = _describe(name, path, data, kind.wanted_bytes, kind.source).to_json()
        content = {"format": FORMAT, "version": VERSION, **recorded}
        write_json(record, content)
    recorded = json.loads(record.read_text(encoding="utf-8"))
    if (recorded.pop("format"), recorded.pop("version")) != (FORMAT, VERSION):
        raise ValueError(f"{record} is not a {FORMAT} of version {VERSION}; delete it")
    return Corpus(path=path, **recorded)


def _describe(name: str, path: Path, data: bytes, wanted: int, source: str) -> Corpus:
    return Corpus(
        name=name,
        path=path,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        num_documents=data.count(_SEPARATOR) + 1,
        wanted_bytes=wanted,
        source=source,
    )


def _join(documents: Iterator[tuple[str, bytes]], limit: int) -> bytes:
    ordered = sorted(documents, key=lambda named: hashlib.sha256(named[0].encode()).digest())
    chosen, size, seen = [], 0, set()
    for _, text in ordered:
        digest = hashlib.sha256(text).digest()
        if digest in seen or _SEPARATOR in text or not _is_usable(text):
            continue
        seen.add(digest)
        chosen.append(text)
        size += len(text) + len(_SEPARATOR)
        if size >= limit:
            break
    return _SEPARATOR.join(chosen)


def _is_usable(document: bytes) -> bool:
    try:
        return _is_settled(document.decode())
    except UnicodeDecodeError:
        return False


def _is_settled(text: str) -> bool:
    """Return whether all contestants' Unicode tables know every code point, and so split it alike.

    Code points are excluded if this Python does not know them, or if `bpe`'s tables disagree.
    """
    return all(map(_is_known, set(text)))


@cache
def _is_known(character: str) -> bool:
    category = unicodedata.category(character)
    is_in = {name: ord(character) in class_members(name) for name in ("L", "N")}
    return category != "Cn" and is_in == {name: category[0] == name for name in is_in}


def _python_files() -> Iterator[tuple[str, bytes]]:
    for root, path in _package_files(".py"):
        yield path.relative_to(root).as_posix(), path.read_bytes()


def _english() -> Iterator[tuple[str, bytes]]:
    for name, source in _python_files():
        if text := _docstrings(source):
            yield name, text.encode()
    for suffix in (".md", ".rst", "METADATA"):
        for root, path in _package_files(suffix):
            yield path.relative_to(root).as_posix(), path.read_bytes()


_Owner = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _docstrings(source: bytes) -> str:
    """Return the docstrings of a module, joined; empty if it cannot be parsed."""
    with warnings.catch_warnings(action="ignore"):
        try:
            nodes: list[_Owner] = [ast.parse(source)]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ""
    owners = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in nodes:  # grows during the loop; expressions, most of a tree, are never visited
        nodes += [child for child in node.body if isinstance(child, owners)]
    found = (ast.get_docstring(node) or "" for node in nodes)
    texts = [text for text in found if len(text) >= _SHORTEST_DOCSTRING]
    return "\n\n".join(texts).encode(errors="ignore").decode()


def _catalogues() -> Iterator[tuple[str, bytes]]:
    roots = [(root, path) for root, path in _package_files(".mo")]
    if _SYSTEM_CATALOGUES.is_dir():
        system = sorted(_SYSTEM_CATALOGUES.glob("*/LC_MESSAGES/*.mo"))
        roots += [(_SYSTEM_CATALOGUES, path) for path in system]
    for root, path in roots:
        if text := _translations(path):
            yield path.relative_to(root).as_posix(), text.encode()


def _translations(path: Path) -> str:
    """Return the texts of a compiled catalogue in its language; empty if it is unreadable."""
    try:
        with path.open("rb") as file:
            catalogue = gettext.GNUTranslations(file)
    except (OSError, ValueError, LookupError):
        return ""
    # The standard library offers no other way to list a catalogue.
    texts = catalogue._catalog  # pyright: ignore[reportAttributeAccessIssue]
    return "\n".join(text for text in texts.values() if text)


def _package_files(suffix: str) -> Iterator[tuple[Path, Path]]:
    """Yield the files of the standard library and of installed packages, with their root."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    roots = sorted({Path(sysconfig.get_path(name)).resolve() for name in names})
    for root in roots:
        for path in sorted(root.rglob(f"*{suffix}")):
            parts = path.relative_to(root).parts
            if root.name != "site-packages" and "site-packages" in parts:
                continue
            if path.is_file():
                yield root, path


def _installed() -> str:
    packages = sorted(f"{each.name}=={each.version}" for each in distributions())
    return " ".join([sys.version, *packages, str(_SYSTEM_CATALOGUES.is_dir())])


KINDS = {
    "python": _Kind(
        _python_files, 10**8, "Python source of the standard library and installed packages"
    ),
    "english": _Kind(_english, 10**8, "docstrings, READMEs and METADATA of installed packages"),
    "multilingual": _Kind(
        _catalogues, 32 * 10**6, "translations in the locale catalogues of installed packages"
    ),
}
"""The corpora that are built if none is named."""
