"""Find a run's text and token files after it was moved.

Stage: run directory, saved configuration -> *current paths* -> tokens. Saved paths are absolute, so
that a run resumes from any folder. A path that is gone is looked up relative to the run's former
place, inside the run and beside it; hashes decide whether the content is the same. Not here: how
text becomes tokens (`preparation.py`).
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
"""Key in data.json of the run's path when it last trained."""


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return a configuration that does not depend on the current folder."""
    return _with_paths(config, Path.absolute)


def find_places(run: RunDirectory, config: RunConfig, *, say: Callable[[str], None]) -> RunConfig:
    """Return a run's configuration with the current paths of its text and token files.

    Args:
        run: the run, where it is now.
        config: its configuration, with saved or requested paths.
        say: reports each path found elsewhere.
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
    """Return the tokenizer and token files of a run to resume, even if its text is gone.

    Args:
        run: the run.
        config: its configuration, with paths from `find_places`.
        reporter: shows progress.

    Raises:
        ValueError: text and token files are gone, or differ from those the run began with.
    """
    paths = (*config.corpus.train, *config.corpus.validation)
    missing = [path for path in paths if not path.exists()]
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
            f"the text with --{option}, or of the token files with --corpus.cache-dir"
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
