"""Send the rows of metrics.jsonl to every tracker exactly once, despite kills and resumes.

Stage: metrics.jsonl -> *trackers* (`trackers.py`). metrics.jsonl is the source of truth: rows are
written there first, a tracker added later receives the earlier rows, and one that fails is dropped
with a warning while the run continues. RUN/tracking.json holds the run's name in the trackers and
the position of each.
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
    """The position of a tracker."""

    step: int
    """It has all rows up to here."""
    is_open: bool
    """It may have later ones, up to the last row of metrics.jsonl when the process ended."""


class Tracking:
    """The trackers of one sitting; without names, it does nothing.

    Created before metrics.jsonl is truncated to the checkpoint: the end of the file is the position
    of a killed process's trackers.

    Args:
        names: which trackers.
        folder: the run directory.
        project: groups runs.
        settings: every field of the configuration with its value.
        say: reports where to look, and failures.
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
        """Open every tracker at `step`, the last of metrics.jsonl, and send the rows it lacks."""
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
        """Send a row of metrics.jsonl to every tracker."""
        self._step = row["step"]
        for name in list(self._trackers):
            self._give(name, row)

    def close(self, result: Mapping[str, float] | None = None) -> None:
        """End the sitting, and send the result of a finished run."""
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
        """Call a tracker; one that fails is reported once and dropped."""
        try:
            call(*given, **more)
        except Exception as error:  # no failure of a library may end the run
            self._trackers.pop(name, None)
            mark = self._marks[name]
            mark.step, mark.is_open = max(mark.step, self._step - 1), False
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._say(
                f"warning: {name} failed at step {self._step:,} and receives no more rows "
                f"({reason}); the run continues, {self._metrics} is complete, "
                "and a resumed run sends it the rest"
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
            self._say(f"{self._file} is damaged, so trackers show a new run: {error}")
            return uuid.uuid4().hex, {}

    def _save(self) -> None:
        marks = {name: asdict(mark) for name, mark in self._marks.items()}
        document = {"format": _FORMAT, "version": _VERSION, "id": self._run.id, "trackers": marks}
        try:
            write_json_atomically(self._file, document)
        except OSError as error:
            self._say(f"warning: {self._file} could not be written: {error}")


def _values(row: MetricsRow) -> dict[str, float]:
    """Return a row's values under names by which trackers group them."""
    prefix = _PREFIXES[row["kind"]]
    return {
        f"{prefix}/{key}": value
        for key, value in row.items()
        if key not in ("kind", "step") and isinstance(value, int | float)
    }
