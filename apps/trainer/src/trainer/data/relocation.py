"""Find the text and token files of a run again, wherever it was moved.

Stage: run directory, saved configuration -> *places* -> tokens. Paths are saved absolute, so that a
run goes on from any folder. Where one is gone it is looked for where it lay from the run, inside of
the run and beside it; hashes decide whether what is there is the same. Not here: what `train` makes
of text (`prepare.py`).
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from trainer.config.run_config import CorpusConfig, RunConfig
from trainer.data.preparation import PreparedData, open_prepared, prepare
from trainer.monitoring.progress import Reporter
from trainer.storage.run_directory import RunDirectory, read_json, require_same_data

DIRECTORY = "directory"
"""Key of data.json: where the run lay when it last trained."""


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return a configuration that means the same in every folder."""
    return _with_paths(config, Path.absolute)


def find_places(run: RunDirectory, config: RunConfig, *, say: Callable[[str], None]) -> RunConfig:
    """Return a run's configuration with the places where its text and token files are now.

    Args:
        run: as it lies now.
        config: with the paths as saved, or as asked for.
        say: told of each path that is found elsewhere.
    """
    recorded = read_json(run.data).get(DIRECTORY) if run.data.exists() else None
    before = Path(recorded) if isinstance(recorded, str) else None

    def place(path: Path) -> Path:
        if path.exists():
            return path
        for found in _candidates(path, run.path.absolute(), before):
            if found.exists():
                say(f"{path} is gone: using {found}")
                return found
        return path

    return _with_paths(config, place)


def prepare_again(run: RunDirectory, config: RunConfig, *, reporter: Reporter) -> PreparedData:
    """Return tokenizer and token files of a run that has begun; without its text if that is gone.

    Args:
        run: whose data it is to be.
        config: with places as `find_places` returns them.
        reporter: hears what is done.

    Raises:
        ValueError: text and token files are gone, or they are others than the run began with.
    """
    missing = [path for path in (*config.corpus.train, *config.corpus.validation)]
    missing = [path for path in missing if not path.exists()]
    if not missing or not run.data.exists():
        data = prepare(config, reporter=reporter)
    else:
        data = _open_tokens(run, config.corpus, missing, reporter=reporter)
    if run.data.exists():
        require_same_data(run, data.hashes())
    return data


def _open_tokens(
    run: RunDirectory, corpus: CorpusConfig, missing: list[Path], *, reporter: Reporter
) -> PreparedData:
    folder = corpus.cache_dir / str(read_json(run.data).get("content_hash"))
    option = "corpus.train" if missing[0] in corpus.train else "corpus.validation"
    if not (folder / "tokens").is_dir():
        raise ValueError(
            f"{missing[0]} is gone, and so are the token files in {folder}; name the new place of "
            f"the text by --{option}, or that of the token files by --corpus.cache-dir"
        )
    reporter.say(f"{missing[0]} is gone: using the token files in {folder}")
    return open_prepared(folder, reporter=reporter)


def _candidates(path: Path, run: Path, before: Path | None) -> Iterator[Path]:
    if before is not None and before.is_absolute() and path.is_absolute():
        yield Path(os.path.normpath(run / os.path.relpath(path, before)))
    yield run / path.name
    yield run.parent / path.name


def _with_paths(config: RunConfig, change: Callable[[Path], Path]) -> RunConfig:
    corpus = config.corpus
    changed = replace(
        corpus,
        train=tuple(map(change, corpus.train)),
        validation=tuple(map(change, corpus.validation)),
        cache_dir=change(corpus.cache_dir),
    )
    return replace(config, corpus=changed)
