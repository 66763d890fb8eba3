"""Keep a study in one directory, from which any process can resume it.

Stage: trials -> *study directory* -> running, report. `study.json` defines the study; its progress
is in the run directories and the outcomes beside them, which all processes share. Not here:
training (`trials.py`).

    studies/lr/
        study.json  study.lock  report.html
        trials/NAME/              a run directory
        trials/NAME.json          its outcome
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trainer.config.former_names import current_name
from trainer.config.presets import config_from_toml, config_to_toml, with_values
from trainer.config.run_config import RunConfig
from trainer.data.relocation import with_absolute_paths
from trainer.storage.file_format import require_format
from trainer.storage.file_lock import file_lock
from trainer.storage.run_directory import read_json, write_json_atomically

STUDIES = Path("studies")
_STUDY, _OUTCOME, _VERSION = "trainer.study", "trainer.outcome", 1
_UNFIT = re.compile(r"[^\w.+=,-]+")
_MAX_NAME = 120
_LOCK = "study.lock"
_TRAITS = ("kind", "engine", "retuned", "search")  # fields of a study that never change

Kind = Literal["sweep", "ablate", "lr-range"]
Engine = Literal["grid", "optuna"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run of a study."""

    name: str
    """Also that of its run directory."""
    changes: dict[str, object]
    """Field -> TOML value, where it differs from the study's base."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a trial ended."""

    status: Literal["finished", "diverged", "hopeless", "too-large"]
    """hopeless: given up because others were ahead; too-large: for the memory."""
    validation_loss: float | None = None
    """Nats per token; None: unknown."""
    step: int
    reason: str = ""

    def save(self, path: Path) -> None:
        """Write the outcome, complete or not at all."""
        write_json_atomically(path, {"format": _OUTCOME, "version": _VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> "Outcome":
        """Read an outcome.

        Raises:
            ValueError: the file is damaged or of another version.
        """
        document = read_json(path)
        require_format(document, name=_OUTCOME, version=_VERSION, source=path)
        try:
            return cls(**{key: document[key] for key in cls.__dataclass_fields__})
        except KeyError as error:
            raise ValueError(f"{path} lacks {error}; remove it to run the trial again") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A base configuration, and trials that change some of its fields."""

    path: Path
    kind: Kind
    base: RunConfig
    trials: list[Trial]
    engine: Engine = "grid"
    """Source of the trials."""
    retuned: str | None = None
    """Field whose best value is sought at each point of the others; None: no such field."""
    search: dict[str, Any] | None = None
    """Search space and storage of an engine; None for the grid."""

    def group(self, trial: Trial) -> str:
        """Return a key that is equal for trials that differ only in seed and `retuned`."""
        own = ("seed", self.retuned)
        return repr({key: value for key, value in trial.changes.items() if key not in own})

    def config(self, trial: Trial) -> RunConfig:
        """Return the whole configuration of a trial."""
        return with_values(self.base, trial.changes, origin=f"{self.path}, {trial.name}")

    def run_path(self, trial: Trial) -> Path:
        """Return the run directory of a trial."""
        return self.path / "trials" / trial.name

    def outcome_path(self, trial: Trial) -> Path:
        """Return the file of a trial's outcome."""
        return self.path / "trials" / f"{trial.name}.json"

    def lock_path(self, trial: Trial) -> Path:
        """Return the lock that a process holds while it runs a trial."""
        return self.path / "trials" / f"{trial.name}.lock"

    def outcome(self, trial: Trial) -> Outcome | None:
        """Return how a trial ended; None: it has not ended."""
        path = self.outcome_path(trial)
        return Outcome.load(path) if path.exists() else None


def open_study(
    path: Path,
    *,
    kind: Kind,
    base: RunConfig,
    trials: Sequence[Trial],
    engine: Engine = "grid",
    retuned: str | None = None,
    search: dict[str, Any] | None = None,
) -> Study:
    """Create a study, or open the same one again and add the trials that are new to it.

    Raises:
        ValueError: an invalid trial; the directory has another study, or something else.
    """
    asked = Study(
        path=path,
        kind=kind,
        base=with_absolute_paths(base),
        trials=list(trials),
        engine=engine,
        retuned=retuned,
        search=search,
    )
    for trial in trials:
        asked.config(trial)  # raises if it is invalid
    if not is_study(path) and path.exists() and {one.name for one in path.iterdir()} - {_LOCK}:
        raise ValueError(f"{path} exists but is not a study; name another directory with --study")
    with study_lock(path):
        if is_study(path):
            old = load_study(path)
            _require_same(old, asked)
            asked = _joined(old, trials)
        _save(asked)
    return asked


def add_trials(study: Study, trials: Sequence[Trial]) -> Study:
    """Add trials to a study, and return it with those that other processes have added.

    Raises:
        ValueError: a trial has the name of another.
    """
    with study_lock(study.path):
        joined = _joined(load_study(study.path), trials)
        _save(joined)
    return joined


@contextmanager
def study_lock(path: Path) -> Iterator[None]:
    """Hold the lock that a process needs to change `study.json`."""
    with file_lock(path / _LOCK, on_wait=lambda: None):
        yield


def _require_same(old: Study, asked: Study) -> None:
    differs = [
        f"{name} = {was}, not {now}"
        for name in _TRAITS
        if (was := getattr(old, name)) != (now := getattr(asked, name))
    ]
    lines = [config_to_toml(study.base).splitlines() for study in (old, asked)]
    differs = differs or [
        f"{was}, not {now.partition(' = ')[2]}"
        for was, now in zip(*lines, strict=True)
        if was != now
    ]
    if differs:
        raise ValueError(
            f"{old.path} has another study ({'; '.join(differs)}); repeat its settings, or name "
            "another directory with --study"
        )


def _joined(old: Study, trials: Sequence[Trial]) -> Study:
    known = {trial.name: trial for trial in old.trials}
    changed = [t.name for t in trials if known.get(t.name, t).changes != t.changes]
    if changed:
        raise ValueError(
            f"{old.path} has a trial {changed[0]} with other values; name another directory with "
            "--study"
        )
    added = [trial for trial in trials if trial.name not in known]
    return replace(old, trials=[*old.trials, *added])


def is_study(path: Path) -> bool:
    """Whether a directory holds a study."""
    return (path / "study.json").exists()


def load_study(path: Path) -> Study:
    """Read a study.

    Raises:
        ValueError: it is not a study, or is damaged.
    """
    file = path / "study.json"
    if not file.exists():
        raise ValueError(
            f"{path} is not a study, as it has no study.json; name the directory of a sweep"
        )
    document = read_json(file)
    require_format(document, name=_STUDY, version=_VERSION, source=file)
    try:
        trials = [
            Trial(
                name=trial["name"],
                changes={current_name(field): value for field, value in trial["changes"].items()},
            )
            for trial in document["trials"]
        ]
        return Study(
            path=path,
            kind=document["kind"],
            base=config_from_toml(document["base"], origin=str(file)),
            trials=trials,
            engine=document.get("engine", "grid"),
            retuned=document.get("retuned"),
            search=document.get("search"),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); restore it from a copy") from error


def safe_name(text: str) -> str:
    """Return a name that is valid on any file system; a long one ends with its hash.

    >>> safe_name("learning-rate=0.001,pattern=a/b")
    'learning-rate=0.001,pattern=a-b'
    """
    name = _UNFIT.sub("-", text)
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _save(study: Study) -> None:
    document = {
        "format": _STUDY,
        "version": _VERSION,
        **{name: getattr(study, name) for name in _TRAITS},
        "base": config_to_toml(study.base),
        "trials": [asdict(trial) for trial in study.trials],
    }
    write_json_atomically(study.path / "study.json", document)
