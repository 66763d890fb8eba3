"""Know the public datasets: their files, where those are, and how they become plain text.

Stage: *dataset name -> text files* -> corpus. Not here: how a file is fetched (`download.py`).
"""

import gzip
import hashlib
import os
import zlib
from pathlib import Path

from trainer.config.run_config import CorpusConfig
from trainer.data.public.download import download
from trainer.data.text_files import TextFile
from trainer.monitoring.progress import Reporter, format_amount
from trainer.storage.run_directory import read_json, write_json_atomically

FORMAT, VERSION = "trainer-unpacked", 2

_HUGGING_FACE = "https://huggingface.co/datasets"
_CHUNK_BYTES = 1 << 20

DATASETS = {
    "tinystories": (
        f"{_HUGGING_FACE}/roneneldan/TinyStories/resolve/main",
        ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"),
    ),
    "owt": (
        f"{_HUGGING_FACE}/stanford-cs336/owt-sample/resolve/main",
        ("owt_train.txt.gz", "owt_valid.txt.gz"),
    ),
}
"""By source: base URL; file to train on, file to validate on. As in the README of CS336."""


def fetch_dataset(
    config: CorpusConfig, *, reporter: Reporter
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the files of a public dataset, downloaded unless they are there.

    Raises:
        ValueError: a download failed; what came so far is kept.
    """
    base, names = DATASETS[config.source]
    base = (config.mirror or base).rstrip("/")
    folder = config.cache_dir / "downloads"
    paths = [_fetch(f"{base}/{name}", folder / name, reporter) for name in names]
    return (paths[0],), (paths[1],)


def require_recorded(file: TextFile) -> None:
    """Insist that a downloaded text is still what was downloaded.

    Raises:
        ValueError: it was altered since.
    """
    recorded = read_json(_record(file.path)).get("sha256")
    if file.sha256 != recorded:
        raise ValueError(
            f"{file.path} has SHA-256 {file.sha256}, but {recorded} was downloaded: it was altered "
            "since; remove it to download it again, or train on it with --corpus.train"
        )


def _fetch(url: str, path: Path, reporter: Reporter) -> Path:
    if path.suffix != ".gz":
        download(url, path, reporter=reporter)
        return path
    text = path.with_suffix("")
    if _is_unpacked(url, text):
        reporter.say(f"reusing {text} ({url})")
        return text
    download(url, path, reporter=reporter)
    sha256 = _unpack(path, text, reporter)
    document = {"format": FORMAT, "version": VERSION, "url": url}
    document |= {"size_bytes": text.stat().st_size, "sha256": sha256}
    write_json_atomically(_record(text), document)
    path.unlink()  # its record stays: where it came from, size and hash
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
            f"{path} is no complete gzip file ({error}); remove it to download it again"
        ) from error
    part.replace(text)
    return digest.hexdigest()


def _record(text: Path) -> Path:
    return text.with_name(text.name + ".json")
