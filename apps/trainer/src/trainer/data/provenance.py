"""Say what a prepared folder was given, and tell whether it still holds that.

Stage: beside tokenizer and token files. A record holds the hashes, so that a finished folder is
never taken for what it is not. Not here: how the folders are made (`prepare.py`).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bpe.formats.statement import AlteredVocabularyError
from tokenizer import TokenFile, Tokenizer
from tokenizer.files.token_file import documents_path, sidecar_path
from trainer.data.shared_folder import AlteredError
from trainer.monitoring.progress import Reporter
from trainer.storage.file_format import file_sha256
from trainer.storage.run_directory import read_json, write_json_atomically

VERSION = 2
"""Of the layout and meaning of a prepared folder; part of its name."""

_TOKENIZER_FORMAT, _TOKENS_FORMAT = "trainer-tokenizer", "trainer-tokens"
_RECORD = "prepared.json"
_NAMES = ("train", "validation")
_CHUNK_BYTES = 1 << 20
_SHOWN_BYTES = 1 << 26  # smaller files are checked faster than a line about it is read


def record_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write down that `folder` holds a tokenizer; last, when it is complete."""
    _record(folder, _TOKENIZER_FORMAT, {"fingerprint": tokenizer.fingerprint})


def record_tokens(folder: Path, files: Mapping[str, TokenFile]) -> None:
    """Write down which token files `folder` holds, by name; last, when they are complete."""
    content = {name: file.info.sha256 for name, file in files.items()}
    sidecars = {
        _sidecar_key(name): file_sha256(sidecar_path(file.path)) for name, file in files.items()
    }
    _record(folder, _TOKENS_FORMAT, content | sidecars)


def open_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a prepared folder.

    Raises:
        AlteredError: it is not the one that was recorded.
        ValueError: it is damaged, or nothing was recorded.
        OSError: a file is missing.
    """
    recorded = _recorded(folder, _TOKENIZER_FORMAT).get("fingerprint")
    try:
        tokenizer = Tokenizer.load(folder)
    except AlteredVocabularyError as error:
        raise AlteredError(f"{error}; {recorded} was trained on this text") from error
    if tokenizer.fingerprint != recorded:
        raise AlteredError(
            f"{folder} holds the tokenizer {tokenizer.fingerprint}, but {recorded} was trained on "
            "this text"
        )
    return tokenizer


def open_tokens(
    folder: Path, tokenizer: Tokenizer, *, reporter: Reporter
) -> tuple[TokenFile, TokenFile]:
    """Open the token files of a prepared folder, having read them whole.

    Raises:
        AlteredError: a file is not the one that was recorded, or the tokenizer another one.
        ValueError: a file is damaged, or nothing was recorded.
        OSError: a file is missing.
    """
    train, validation = (TokenFile.open(folder / f"{name}.npy") for name in _NAMES)
    for file in (train, validation):
        try:
            file.check_tokenizer(tokenizer.fingerprint)
            file.check_ids()
        except ValueError as error:
            raise AlteredError(str(error)) from error
        require_recorded(file, reporter=reporter)
    return train, validation


def require_recorded(file: TokenFile, *, reporter: Reporter) -> None:
    """Insist that a token file is, to the bit, the one that was put into its prepared folder.

    Raises:
        AlteredError: ids, starts of documents or sidecar are others; the message says which.
        ValueError: nothing was recorded.
        OSError: a file is missing.
    """
    path, sidecar = file.path, sidecar_path(file.path)
    recorded = _recorded(path.parent, _TOKENS_FORMAT)
    found = file_sha256(sidecar)
    # What an earlier version prepared has no hash of the sidecar.
    _require_same(sidecar, found, recorded.get(_sidecar_key(path.stem), found))
    _require_same(path, _hash_tokens(file, reporter=reporter), recorded.get(path.stem))
    _require_same(path, file.info.sha256, recorded.get(path.stem))
    documents = documents_path(path)
    _require_same(documents, file_sha256(documents), file.info.documents_sha256)


def _require_same(path: Path, found: str, recorded: str | None) -> None:
    if found != recorded:
        raise AlteredError(
            f"{path} has SHA-256 {found}, but {recorded} was written: the file has changed"
        )


def _sidecar_key(name: str) -> str:
    return f"{name}_sidecar"


def _record(folder: Path, format_name: str, content: Mapping[str, str]) -> None:
    document = {"format": format_name, "version": VERSION, **content}
    write_json_atomically(folder / _RECORD, document)


def _recorded(folder: Path, format_name: str) -> dict[str, str]:
    document = read_json(folder / _RECORD)
    found = document.get("format"), document.get("version")
    if found != (format_name, VERSION):
        raise ValueError(f"{folder / _RECORD} says {found}, not {(format_name, VERSION)}")
    return document


def _hash_tokens(file: TokenFile, *, reporter: Reporter) -> str:
    size, done, digest = file.path.stat().st_size, 0, hashlib.sha256()
    shown = reporter if size >= _SHOWN_BYTES else Reporter(mode="silent")
    stage_of = shown.stage(f"check {file.path.name}", total=size, unit="bytes")
    with stage_of as stage, file.path.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            stage.update(done)
    return digest.hexdigest()
