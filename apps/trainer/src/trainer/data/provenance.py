"""Record what a prepared folder holds, and verify that it still does.

Stage: beside tokenizer and token files. A record of hashes identifies the content of a finished
folder. Not here: how the folders are made (`preparation.py`).
"""

from collections.abc import Mapping
from pathlib import Path

from bpe.formats.statement import AlteredVocabularyError
from tokenizer import TokenFile, Tokenizer
from tokenizer.files.token_file import documents_path, sidecar_path
from trainer.data.shared_folder import AlteredError
from trainer.data.text_files import hash_file
from trainer.monitoring.progress import Reporter
from trainer.storage.file_format import file_sha256, require_format
from trainer.storage.run_directory import read_json, write_json_atomically

VERSION = 2
"""Version of the layout and meaning of a prepared folder; part of its name."""

_TOKENIZER_FORMAT, _TOKENS_FORMAT = "trainer-tokenizer", "trainer-tokens"
_RECORD = "prepared.json"
_NAMES = ("train", "validation")
_SHOWN_BYTES = 1 << 26  # smaller files are checked before anyone could read the progress line


def record_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Record that `folder` holds a tokenizer; last, when it is complete."""
    _record(folder, _TOKENIZER_FORMAT, {"fingerprint": tokenizer.fingerprint})


def record_tokens(folder: Path, files: Mapping[str, TokenFile]) -> None:
    """Record which token files `folder` holds, by name; last, when they are complete."""
    content = {name: file.info.sha256 for name, file in files.items()}
    sidecars = {
        _sidecar_key(name): file_sha256(sidecar_path(file.path)) for name, file in files.items()
    }
    _record(folder, _TOKENS_FORMAT, content | sidecars)


def open_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a prepared folder.

    Raises:
        AlteredError: it is not the recorded one.
        ValueError: it is damaged, or has no record.
        OSError: a file is missing.
    """
    recorded = _recorded(folder, _TOKENIZER_FORMAT).get("fingerprint")
    try:
        tokenizer = Tokenizer.load(folder)
    except AlteredVocabularyError as error:
        raise AlteredError(f"{error}; {recorded} was trained on this text") from error
    if tokenizer.fingerprint != recorded:
        raise AlteredError(
            f"{folder} holds tokenizer {tokenizer.fingerprint}, but {recorded} was trained on "
            "this text"
        )
    return tokenizer


def open_tokens(
    folder: Path, tokenizer: Tokenizer, *, reporter: Reporter
) -> tuple[TokenFile, TokenFile]:
    """Open the token files of a prepared folder after reading and verifying them in full.

    Raises:
        AlteredError: a file is not the recorded one, or belongs to another tokenizer.
        ValueError: a file is damaged, or has no record.
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
    """Require that a token file is, to the bit, the one recorded in its folder.

    Raises:
        AlteredError: ids, document starts or sidecar changed; the message names the file.
        ValueError: there is no record.
        OSError: a file is missing.
    """
    path, sidecar = file.path, sidecar_path(file.path)
    recorded = _recorded(path.parent, _TOKENS_FORMAT)
    found = file_sha256(sidecar)
    # Folders prepared by an earlier version record no hash of the sidecar.
    _require_same(sidecar, found, recorded.get(_sidecar_key(path.stem), found))
    hashed = hash_file(path, reporter=reporter, shown_bytes=_SHOWN_BYTES)
    _require_same(path, hashed, recorded.get(path.stem))
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
    path = folder / _RECORD
    document = read_json(path)
    require_format(document, name=format_name, version=VERSION, source=path)
    return document
