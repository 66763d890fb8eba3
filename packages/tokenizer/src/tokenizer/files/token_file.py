"""Keep token ids on disk.

Stage: ids -> *token file* -> batches. A token file is a `.npy` of ids, opened as a memory map, a
`.documents.npy` of where documents start, and a JSON sidecar that names the tokenizer that made
them. Not here: encoding.
"""

import errno
import hashlib
import json
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from bpe.messages.plural import plural
from tokenizer._bpe import Staging, as_path, read_json_object, require_inside
from tokenizer.files.npy import map_array

FORMAT, FORMAT_VERSION = "token-file", 2

_BLOCK_TOKENS = 1 << 22  # ids checked together
_DTYPES = ("uint16", "uint32")
_MAX_SIDECAR_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFileInfo:
    """The content of the sidecar."""

    dtype: str
    """"uint16" or "uint32", little-endian."""
    num_tokens: int
    vocab_size: int
    """Every id is below it."""
    tokenizer: str
    """Fingerprint of the tokenizer."""
    end_of_text_id: int | None
    num_documents: int
    """Stretches of at least one id between end-of-text ids and ends of files."""
    num_bytes: int
    """UTF-8 bytes of the source text, special tokens included."""
    sha256: str
    """Of the whole `.npy`, in hex."""
    documents_sha256: str
    """Of the whole `.documents.npy`, in hex."""
    sources: tuple[str, ...]
    """Names of the source files, without their folders."""


@dataclass(frozen=True, eq=False)
class TokenFile:
    """Ids on disk: `tokens` is a memory map, so it may be larger than memory.

    Attributes:
        path: the `.npy`.
        tokens: (n,) uint16 or uint32; read-only.
        info: the sidecar's content.
    """

    path: Path
    tokens: np.ndarray
    info: TokenFileInfo

    @classmethod
    def open(cls, path: str | Path) -> "TokenFile":
        """Map a token file after checking that its parts belong together.

        Raises:
            FileNotFoundError: the `.npy` or its sidecar is missing.
            ValueError: malformed, of another name, format or version, or the parts disagree.
        """
        path = _require_npy(path)
        sidecar = sidecar_path(path)
        for part in (path, documents_path(path), sidecar):
            if not part.is_file():
                raise FileNotFoundError(
                    f"{part} is missing; a token file is {path.name}, {documents_path(path).name} "
                    f"and {sidecar.name} side by side; write them again with encode"
                )
            # All parts may be links to another disk, but to the same folder on it.
            require_inside(part, path.parent, path.resolve().parent)
        info = _parse_sidecar(sidecar)
        tokens = map_array(path)
        if tokens.dtype != _stored(info.dtype) or tokens.shape != (info.num_tokens,):
            raise ValueError(
                f"{path} contains {tokens.dtype} of shape {tokens.shape}, but {sidecar.name} "
                f"states {info.num_tokens} ids of {info.dtype}; encode it again"
            )
        return cls(path, tokens, info)

    def __len__(self) -> int:
        return self.info.num_tokens

    def check_tokenizer(self, fingerprint: str) -> None:
        """Require that the tokenizer with this fingerprint made the ids.

        Raises:
            ValueError: another one did; names both fingerprints.
        """
        if fingerprint != self.info.tokenizer:
            raise ValueError(
                f"{self.path} was made by the tokenizer {self.info.tokenizer}, but would be used "
                f"with the tokenizer {fingerprint}; encode the text again with the latter"
            )

    def check_ids(self) -> None:
        """Scan all ids, block by block.

        Raises:
            ValueError: an id that the vocabulary does not have; names it and its position.
        """
        for start in range(0, len(self), _BLOCK_TOKENS):
            block = self.tokens[start : start + _BLOCK_TOKENS]
            outside = np.flatnonzero(block >= self.info.vocab_size)
            if outside.size:
                raise ValueError(
                    f"{self.path}: id {block[outside[0]]} at position {start + outside[0]} is "
                    f"outside the vocabulary of {self.info.vocab_size}; encode it again"
                )

    def check_hash(self) -> None:
        """Read all ids and document starts, and compare their SHA-256 with the recorded hashes.

        Raises:
            ValueError: they differ; names both.
        """
        for path, recorded in (
            (self.path, self.info.sha256),
            (documents_path(self.path), self.info.documents_sha256),
        ):
            found = _sha256(path)
            if found != recorded:
                raise ValueError(
                    f"{path} has SHA-256 {found}, but {sidecar_path(self.path).name} states "
                    f"{recorded}: the file has changed; encode it again"
                )

    def document_starts(self) -> np.ndarray:
        """Return where documents start: the first id of a file or after an end-of-text id.

        Empty documents, as between two end-of-text ids, do not count.

        Returns:
            (num_documents,) int64, ascending; a memory map.

        Raises:
            ValueError: malformed, or not as many as the sidecar states.
        """
        path = documents_path(self.path)
        starts = map_array(path)
        if starts.dtype != np.int64 or starts.shape != (self.info.num_documents,):
            raise ValueError(
                f"{path} contains {starts.dtype} of shape {starts.shape}, but "
                f"{sidecar_path(self.path).name} states "
                f"{plural(self.info.num_documents, 'document')}; encode the text again"
            )
        return starts


class TokenFileWriter:
    """Write a token file block by block; it appears under its name when it is complete.

    Use as a context manager: leaving the block without `commit` leaves nothing behind.

    Raises:
        ValueError: the name does not end in `.npy`, or the sidecar would replace another file.
    """

    def __init__(self, path: str | Path, *, dtype: np.dtype) -> None:
        self.path = _require_npy(path)
        _require_replaceable(sidecar_path(self.path))
        self.num_tokens = 0
        self._dtype = _stored(dtype.name)
        self._staging = Staging()

    def __enter__(self) -> "TokenFileWriter":
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a directory", str(self.path))
        self._array = self._staging.open(self.path)
        self._header_bytes = self._write_header()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._staging.__exit__(kind, error, trace)

    def append(self, ids: np.ndarray) -> None:
        """Write more ids."""
        self._array.write(ids.astype(self._dtype, copy=False).data)
        self.num_tokens += len(ids)

    def commit(
        self,
        *,
        vocab_size: int,
        tokenizer: str,
        end_of_text_id: int | None,
        document_starts: np.ndarray,
        num_bytes: int,
        sources: tuple[str, ...],
    ) -> TokenFile:
        """Put all parts into place; the fields are those of `TokenFileInfo`."""
        header_bytes = self._write_header()
        assert header_bytes == self._header_bytes, "numpy pads headers so that they can grow"
        self._array.finish()
        documents = BytesIO()
        np.lib.format.write_array(documents, document_starts.astype("<i8"), allow_pickle=False)
        info = TokenFileInfo(
            dtype=self._dtype.name,
            num_tokens=self.num_tokens,
            vocab_size=vocab_size,
            tokenizer=tokenizer,
            end_of_text_id=end_of_text_id,
            num_documents=len(document_starts),
            num_bytes=num_bytes,
            sha256=_sha256(self._array.beside),
            documents_sha256=hashlib.sha256(documents.getvalue()).hexdigest(),
            sources=sources,
        )
        content = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(info)}
        self._staging.open(documents_path(self.path)).write(documents.getvalue())
        # Last, so that a sidecar is never beside parts of another array.
        sidecar = self._staging.open(sidecar_path(self.path))
        sidecar.write((json.dumps(content, indent=2) + "\n").encode())
        self._staging.commit()
        return TokenFile.open(self.path)

    def _write_header(self) -> int:
        """Write the header for the ids so far at the start of the file; return its length."""
        header = BytesIO()
        np.lib.format.write_array_header_1_0(
            header,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self.num_tokens,),
            },
        )
        self._array.rewind()
        self._array.write(header.getvalue())
        return len(header.getvalue())


def documents_path(path: Path) -> Path:
    """Return the path of the document starts of a token file.

    >>> documents_path(Path("train.npy")).name
    'train.documents.npy'
    """
    return path.with_suffix(".documents.npy")


def sidecar_path(path: Path) -> Path:
    """Return the path of the sidecar of a token file.

    >>> sidecar_path(Path("train.npy")).name
    'train.json'
    """
    return path.with_suffix(".json")


def _require_npy(path: str | Path) -> Path:
    path = as_path(path, name="path")
    if path.suffix != ".npy":
        raise ValueError(f"got the name {path}, but a token file is named *.npy; rename it")
    return path


def _require_replaceable(sidecar: Path) -> None:
    """Refuse to replace another file by a sidecar, such as a tokenizer.json or the source."""
    if not sidecar.exists():
        return
    try:
        is_sidecar = read_json_object(sidecar).get("format") == FORMAT
    except ValueError:
        is_sidecar = False
    if not is_sidecar:
        raise ValueError(
            f"{sidecar} exists and is not the sidecar of a token file, but would be replaced by "
            "one; choose another name for the token file, or remove it"
        )


def _stored(dtype_name: str) -> np.dtype:
    """Return the dtype with the byte order of the file, the same on every machine."""
    return np.dtype(dtype_name).newbyteorder("<")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse_sidecar(path: Path) -> TokenFileInfo:
    size = path.stat().st_size
    if size > _MAX_SIDECAR_BYTES:
        raise ValueError(
            f"{path} has {plural(size, 'byte')}, too many for a sidecar; encode the text again"
        )
    try:
        content = read_json_object(path)
        found = content.pop("format"), content.pop("version")
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is not the sidecar of a token file ({error}); encode the text again"
        ) from None
    if found != (FORMAT, FORMAT_VERSION):
        raise ValueError(
            f"{path} has format {found[0]!r}, version {found[1]!r}, but this version of tokenizer "
            f"reads {FORMAT!r}, version {FORMAT_VERSION}; encode the text again"
        )
    if isinstance(content.get("sources"), list):
        content["sources"] = tuple(content["sources"])
    kinds = get_type_hints(TokenFileInfo)
    wrong = [n for n, kind in kinds.items() if n not in content or not _is_of(content[n], kind)]
    wrong += content.keys() - kinds
    if wrong:
        raise ValueError(
            f"{path} is not the sidecar of a token file: {', '.join(sorted(wrong))} missing, "
            "unknown or of the wrong type; encode the text again"
        )
    info = TokenFileInfo(**content)
    if info.dtype not in _DTYPES:
        raise ValueError(
            f"{path} states dtype {info.dtype!r}, but ids are {' or '.join(_DTYPES)}; encode the "
            "text again"
        )
    return info


def _is_of(value: Any, kind: type | UnionType) -> bool:
    """Whether a JSON value has the type of a field; no whole number here is negative."""
    if isinstance(kind, UnionType):
        return any(_is_of(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return type(value) is tuple and all(type(item) is str for item in value)
    return type(value) is kind and (kind is not int or value >= 0)
