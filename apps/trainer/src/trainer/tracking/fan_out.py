"""Give the rows of metrics.jsonl to every tracker, once each, through kills and resumes.

Stage: metrics.jsonl -> *trackers* (`trackers.py`). metrics.jsonl is the source of truth: a row is
there before a tracker gets it, a tracker that is asked for late gets the rows from before, and one
that fails is left out, loudly, while the run goes on. RUN/tracking.json holds the name under which
the trackers know the run, and how far each of them is.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.monitoring.metrics import MetricsRow, read_readable_metrics
from trainer.storage.file_format import require_format
from trainer.storage.run_directory import read_json, write_json_atomically
from trainer.tracking.trackers import TrackedRun, Tracker, find_tracker, open_tracker

_FORMAT, _VERSION = "trainer.tracking", 1
_PREFIXES = {"train": "train", "evaluation": "validation"}


@dataclass(slots=True)
class _Mark:
    """How far a tracker is."""

    step: int
    """It has all rows up to here."""
    is_open: bool
    """It may have later ones too, up to the last that metrics.jsonl had when the process ended."""


class Tracking:
    """The trackers of one sitting; does nothing where none is asked for.

    Made before metrics.jsonl is cut back to the checkpoint, since how far the file goes is how far
    the trackers of a process that was killed are.

    Args:
        names: which trackers.
        folder: the run directory.
        project: groups runs.
        settings: every field of the configuration with its value.
        say: told where to look, and of failures.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        folder: Path,
        project: str,
        settings: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._names, self._say = names, say
        self._metrics, self._file = folder / "metrics.jsonl", folder / "tracking.json"
        self._trackers: dict[str, Tracker] = {}
        self._step = 0
        if not names:
            return
        identity, self._marks = self._read()
        name = folder.resolve().name
        self._run = TrackedRun(
            id=identity, name=name, project=project, folder=folder, settings=settings
        )
        rows, _ = read_readable_metrics(self._metrics)
        reached = max((row["step"] for row in rows), default=0)
        for name, mark in self._marks.items():
            if mark.is_open and not find_tracker(name).can_forget:
                mark.step = max(mark.step, reached)
            mark.is_open = False

    def open(self, step: int) -> None:
        """Begin or go on with every tracker, and give each the rows that it lacks.

        Args:
            step: where the run is; metrics.jsonl holds nothing later.
        """
        self._step = step
        rows, _ = read_readable_metrics(self._metrics) if self._names else ([], [])
        for name in self._names:
            mark = self._marks.setdefault(name, _Mark(0, True))
            mark.is_open = True
            if find_tracker(name).can_forget:
                mark.step = min(mark.step, step)
            self._attempt(name, self._open, name, mark)
            for row in rows:
                self._give(name, row)
        if self._names:
            self._save()

    def log(self, row: MetricsRow) -> None:
        """Give a row that is in metrics.jsonl to every tracker."""
        self._step = row["step"]
        for name in list(self._trackers):
            self._give(name, row)

    def close(self, result: Mapping[str, float] | None = None) -> None:
        """End the sitting.

        Args:
            result: what the finished run reached, if it is finished.
        """
        for name in list(self._trackers):
            if result:
                values = {f"final/{key}": value for key, value in result.items()}
                self._attempt(name, self._trackers[name].log, values, step=self._step)
        for name in list(self._trackers):
            self._attempt(name, self._trackers[name].close)
        for name in self._trackers:
            mark = self._marks[name]
            mark.step, mark.is_open = max(mark.step, self._step), False
        if self._trackers:
            self._save()
        self._trackers = {}

    def _open(self, name: str, mark: _Mark) -> None:
        self._trackers[name] = open_tracker(name, self._run, after_step=mark.step)
        self._say(f"tracked by {name}: {self._trackers[name].where}")

    def _give(self, name: str, row: MetricsRow) -> None:
        if name in self._trackers and row["step"] > self._marks[name].step:
            self._attempt(name, self._trackers[name].log, _values(row), step=row["step"])

    def _attempt(self, name: str, call: Callable[..., None], *given: object, **more: int) -> None:
        """Call a tracker; one that fails is told once and left out."""
        try:
            call(*given, **more)
        except Exception as error:  # a library's failure, of whatever kind, is not the run's
            self._trackers.pop(name, None)
            mark = self._marks[name]
            mark.step, mark.is_open = max(mark.step, self._step - 1), False
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._say(
                f"warning: {name} failed at step {self._step:,} and is left out from here on "
                f"({reason}); the run goes on, {self._metrics} is complete, "
                "and a resumed run gives it the rest"
            )
            self._save()

    def _read(self) -> tuple[str, dict[str, _Mark]]:
        if not self._file.exists():
            return uuid.uuid4().hex, {}
        try:
            document = read_json(self._file)
            require_format(document, name=_FORMAT, version=_VERSION, source=self._file)
            marks = {name: _Mark(**mark) for name, mark in document["trackers"].items()}
            return str(document["id"]), marks
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._say(f"{self._file} is damaged, so the run is tracked as a new one: {error}")
            return uuid.uuid4().hex, {}

    def _save(self) -> None:
        marks = {name: asdict(mark) for name, mark in self._marks.items()}
        document = {"format": _FORMAT, "version": _VERSION, "id": self._run.id, "trackers": marks}
        try:
            write_json_atomically(self._file, document)
        except OSError as error:
            self._say(f"warning: {self._file} could not be written: {error}")


def _values(row: MetricsRow) -> dict[str, float]:
    """Return what a row measures, under names that trackers group by."""
    prefix = _PREFIXES[row["kind"]]
    return {
        f"{prefix}/{key}": value
        for key, value in row.items()
        if key not in ("kind", "step") and isinstance(value, int | float)
    }
