"""Read the records of public datasets, one TOML file each in `data/public/`.

Stage: a dataset's name -> *record* -> corpus configuration, download. To add a dataset, add a file.
Not here: how files are fetched and unpacked (`data/public/`).
"""

from dataclasses import dataclass
from typing import Literal

from trainer.config.field_checks import require_kinds
from trainer.storage.toml_text import parse_toml, shipped_documents

_FOLDER = "data/public"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFile:
    """One file to download."""

    file: str
    """Its name, relative to the dataset's URL."""
    size_bytes: int | None = None
    """None: unknown."""
    sha256: str | None = None
    """In hexadecimal; None: unknown, so the host's own is checked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One record."""

    licence: str
    """Licence of the texts, for the reader."""
    url: str
    """Folder of the files."""
    format: Literal["text", "gzip"]
    """UTF-8 text, plain or compressed."""
    train: DatasetFile
    validation: DatasetFile


def dataset_names() -> list[str]:
    """Return the names of the public datasets."""
    return list(shipped_documents(_FOLDER))


def load_dataset(name: str) -> Dataset:
    """Return the record of a dataset.

    Raises:
        ValueError: the record is damaged.

    >>> load_dataset("owt").train.file
    'owt_train.txt.gz'
    """
    text = shipped_documents(_FOLDER)[name].read_text(encoding="utf-8")
    document = parse_toml(text, origin=f"{name}.toml")
    try:
        train, validation = (DatasetFile(**document.pop(part)) for part in ("train", "validation"))
        dataset = Dataset(train=train, validation=validation, **document)
        for one in (dataset, train, validation):
            require_kinds("", one)
        return dataset
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name}.toml is not a dataset record: {error}; see the others in {_FOLDER}"
        ) from error
