"""Keep what belongs to one experiment in one directory, so that any process can go on with it.

Stage: trials -> *study directory* -> running, report. What a study is stands in `study.json`; how
far it is follows from its run directories and the outcomes beside them, which all processes share.

    studies/lr/
        study.json  study.lock  report.html
        trials/NAME/              a run directory
        trials/NAME.json          how it ended
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
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

Kind = Literal["sweep", "ablate", "lr-range"]
Engine = Literal["grid", "optuna"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run of a study."""

    name: str
    """Of its directory; says what sets it off."""
    changes: dict[str, object]
    """Field -> value as TOML holds it, against the study's base."""

    @classmethod
    def of(
        cls,
        changes: Mapping[str, object],
        *,
        base: RunConfig,
        named: Sequence[str],
        origin: str = "study",
    ) -> "Trial":
        """Name a trial by its changes of the fields in `named`, and insist that it can be run.

        Raises:
            ValueError: an unknown field, or a value that no run can have; it begins with `origin`.
        """
        with_values(base, changes, origin=origin)
        return cls(name=cls.name_of(changes, named=named), changes=dict(changes))

    @staticmethod
    def name_of(changes: Mapping[str, object], *, named: Sequence[str]) -> str:
        """Return what a trial is called that changes fields, of which `named` are said."""
        shown = {field: value for field, value in changes.items() if field in named}
        parts = [f"{field.rpartition('.')[2]}={value}" for field, value in shown.items()]
        return safe_name(",".join(parts) or "baseline")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a trial ended."""

    status: Literal["finished", "diverged", "hopeless", "too-large"]
    """hopeless: given up, since others were better by then; too-large: for the memory."""
    validation_loss: float | None
    """Nats a token; None: it has none."""
    step: int
    reason: str = ""

    def save(self, path: Path) -> None:
        """Write it, complete or not at all."""
        write_json_atomically(path, {"format": _OUTCOME, "version": _VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> "Outcome":
        """Read it.

        Raises:
            ValueError: the file is damaged, or of another version.
        """
        document = read_json(path)
        require_format(document, name=_OUTCOME, version=_VERSION, source=path)
        try:
            return cls(**{key: document[key] for key in cls.__dataclass_fields__})
        except KeyError as error:
            raise ValueError(f"{path} lacks {error}; remove it to run the trial again") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """An experiment: a base, and trials that differ from it."""

    path: Path
    kind: Kind
    base: RunConfig
    trials: list[Trial]
    engine: Engine = "grid"
    """What chose the trials."""
    retuned: str | None = None
    """The field whose best value is sought at each point of the others; None: there is none."""
    search: dict[str, Any] | None = None
    """Where an engine looks, and where it keeps what it knows; None: it does not."""

    def group(self, trial: Trial) -> str:
        """Return what trials have in common that differ in their seed and `retuned` only."""
        own = ("seed", self.retuned)
        return repr({key: value for key, value in trial.changes.items() if key not in own})

    def config(self, trial: Trial) -> RunConfig:
        """Return the whole configuration of a trial."""
        return with_values(self.base, trial.changes, origin=f"{self.path}, {trial.name}")

    def run_path(self, trial: Trial) -> Path:
        """Return the run directory of a trial."""
        return self.path / "trials" / trial.name

    def outcome_path(self, trial: Trial) -> Path:
        """Return where the outcome of a trial is kept."""
        return self.path / "trials" / f"{trial.name}.json"

    def lock_path(self, trial: Trial) -> Path:
        """Return what a process holds while it is at a trial."""
        return self.path / "trials" / f"{trial.name}.lock"

    def outcome(self, trial: Trial) -> Outcome | None:
        """Return how a trial ended; None: it has not."""
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
    """Begin a study, or go on with the same one; trials that are new are added behind.

    Raises:
        ValueError: a trial that cannot be, by name; the directory holds another study, or something
            else.
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
        asked.config(trial)  # raises where no run can be so
    if not is_study(path) and path.exists() and {one.name for one in path.iterdir()} - {_LOCK}:
        raise ValueError(f"{path} exists and is no study; name another by --study")
    with study_lock(path):
        if is_study(path):
            old = load_study(path)
            _require_same(old, asked)
            asked = _joined(old, trials)
        _save(asked)
    return asked


def add_trials(study: Study, trials: Sequence[Trial]) -> Study:
    """Return a study with more trials, those included that other processes have added.

    Raises:
        ValueError: a trial has another's name.
    """
    with study_lock(study.path):
        joined = _joined(load_study(study.path), trials)
        _save(joined)
    return joined


@contextmanager
def study_lock(path: Path) -> Iterator[None]:
    """Hold what a process holds while it changes what the study at `path` consists of."""
    with file_lock(path / _LOCK, on_wait=lambda: None):
        yield


def _require_same(old: Study, asked: Study) -> None:
    differs = [
        f"{name} = {was} or {now}"
        for name in ("kind", "engine", "retuned", "search")
        if (was := getattr(old, name)) != (now := getattr(asked, name))
    ]
    differs += _differing(old.base, asked.base) if not differs else []
    if differs:
        raise ValueError(
            f"{old.path} is another study: {', '.join(differs)} differs; ask for what it began "
            "with, or name another directory by --study"
        )


def _joined(old: Study, trials: Sequence[Trial]) -> Study:
    known = {trial.name: trial for trial in old.trials}
    changed = [t.name for t in trials if known.get(t.name, t).changes != t.changes]
    if changed:
        raise ValueError(f"{old.path} has other values for {changed[0]}; name another by --study")
    added = [trial for trial in trials if trial.name not in known]
    return replace(old, trials=[*old.trials, *added])


def is_study(path: Path) -> bool:
    """Whether a directory holds a study."""
    return (path / "study.json").exists()


def load_study(path: Path) -> Study:
    """Read a study.

    Raises:
        ValueError: it is no study, or damaged.
    """
    file = path / "study.json"
    if not file.exists():
        raise ValueError(f"{path} is no study: it has no study.json; name one that sweep left")
    document = read_json(file)
    require_format(document, name=_STUDY, version=_VERSION, source=file)
    try:
        base = config_from_toml(document["base"], origin=str(file))
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
            base=base,
            trials=trials,
            engine=document.get("engine", "grid"),
            retuned=document.get("retuned"),
            search=document.get("search"),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} is no complete study ({error}); restore it") from error


def safe_name(text: str) -> str:
    """Return a name that any file system takes; a long one ends with a hash of all of it.

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
        "kind": study.kind,
        "engine": study.engine,
        "retuned": study.retuned,
        "search": study.search,
        "base": config_to_toml(study.base),
        "trials": [asdict(trial) for trial in study.trials],
    }
    write_json_atomically(study.path / "study.json", document)


def _differing(one: RunConfig, other: RunConfig) -> list[str]:
    lines = zip(config_to_toml(one).splitlines(), config_to_toml(other).splitlines(), strict=True)
    return [f"{old} or {new.partition(' = ')[2]}" for old, new in lines if old != new]
