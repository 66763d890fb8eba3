"""Turn a public dataset into plain text files: fetch, check and unpack them.

Stage: *record -> text files* -> corpus. Not here: the records (`*.toml`, read by
`config/datasets.py`), the download of one file (`download.py`).
"""

import gzip
import hashlib
import os
import zlib
from pathlib import Path

from trainer.config.datasets import DatasetFile, load_dataset
from trainer.config.run_config import CorpusConfig
from trainer.data.public.download import download
from trainer.data.text_files import TextFile
from trainer.monitoring.progress import Reporter, format_amount
from trainer.storage.run_directory import read_json, write_json_atomically

FORMAT, VERSION = "trainer-unpacked", 2

_CHUNK_BYTES = 1 << 20


def fetch_dataset(
    config: CorpusConfig, *, reporter: Reporter
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the training and validation files of a public dataset, downloaded if missing.

    Raises:
        ValueError: a download failed; the part received so far is kept.
    """
    dataset, folder = load_dataset(config.source), config.cache_dir / "downloads"
    base = (config.mirror or dataset.url).rstrip("/")
    fetch = {"text": _fetch, "gzip": _fetch_packed}[dataset.format]
    train, validation = (
        fetch(one, f"{base}/{one.file}", folder / one.file, reporter)
        for one in (dataset.train, dataset.validation)
    )
    return (train,), (validation,)


def require_recorded(file: TextFile) -> None:
    """Require that a text is as it was downloaded.

    Raises:
        ValueError: it was altered.
    """
    recorded = read_json(_record(file.path)).get("sha256")
    if file.sha256 != recorded:
        raise ValueError(
            f"{file.path} has SHA-256 {file.sha256}, but {recorded} was downloaded: it was altered "
            "since; remove it to download it again, or train on it with --corpus.train"
        )


def _fetch(file: DatasetFile, url: str, path: Path, reporter: Reporter) -> Path:
    found = download(url, path, reporter=reporter)
    for name in ("size_bytes", "sha256"):
        wanted = getattr(file, name)
        if wanted not in (None, getattr(found, name)):
            raise ValueError(
                f"{path} has {name} {getattr(found, name)}, but the dataset's record has {wanted}; "
                "remove it, and use another --corpus.mirror or correct the record"
            )
    return path


def _fetch_packed(file: DatasetFile, url: str, path: Path, reporter: Reporter) -> Path:
    text = path.with_suffix("")
    if _is_unpacked(url, text):
        reporter.say(f"reusing {text} ({url})")
        return text
    _fetch(file, url, path, reporter)
    sha256 = _unpack(path, text, reporter)
    document = {"format": FORMAT, "version": VERSION, "url": url}
    document |= {"size_bytes": text.stat().st_size, "sha256": sha256}
    write_json_atomically(_record(text), document)
    path.unlink()  # its record stays: URL, size and hash
    return text


def _is_unpacked(url: str, text: Path) -> bool:
    if not (text.exists() and _record(text).exists()):
        return False
    record = read_json(_record(text))
    found = tuple(record.get(key) for key in ("format", "version", "url", "size_bytes"))
    return found == (FORMAT, VERSION, url, text.stat().st_size)


def _unpack(path: Path, text: Path, reporter: Reporter) -> str:
    """Write the text inside a gzip file; return its SHA-256."""
    part, done, digest = text.with_name(text.name + ".part"), 0, hashlib.sha256()
    name = f"unpack {path.name}"
    try:
        with (
            reporter.stage(name, total=path.stat().st_size, unit="bytes") as stage,
            path.open("rb") as packed,
            gzip.open(packed) as source,
            part.open("wb") as target,
        ):
            while chunk := source.read(_CHUNK_BYTES):
                target.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                stage.update(packed.tell(), note=f"{format_amount(done, unit='bytes')} of text")
            target.flush()
            os.fsync(target.fileno())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        part.unlink(missing_ok=True)
        raise ValueError(
            f"{path} is not a complete gzip file ({error}); remove it to download it again"
        ) from error
    part.replace(text)
    return digest.hexdigest()


def _record(text: Path) -> Path:
    return text.with_name(text.name + ".json")
