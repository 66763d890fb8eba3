"""Record the metrics of a run, one JSON object per line, by step and wall clock.

Stage: training loop -> *metrics.jsonl* -> loss curve, your own plots. The file only grows, except
that resuming drops the rows beyond the checkpoint. Every line is strict JSON: a number that is not
finite is the string "nan", "inf" or "-inf", and null means unknown. Not here: trackers
(`tracking/`).
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from trainer.storage.durable import append, write_atomically
from trainer.storage.file_format import require_format

FORMAT = "trainer.metrics"
VERSION = 1


class MetricsRow(TypedDict):
    """One line."""

    kind: Literal["train", "evaluation"]
    """train: a batch before its update; evaluation: the validation windows."""
    step: int
    """Updates so far."""
    seconds: float
    """Wall clock of training so far, in all sittings."""
    tokens: int
    """Training tokens seen so far."""
    loss: float
    """Nats per token."""
    learning_rate: float | None
    """Learning rate of the update."""
    grad_norm: float | None
    """Global norm before clipping."""
    tokens_per_second: float | None
    """Training speed since the last row."""
    mfu: float | None
    """Model FLOP/s over the device's peak, in [0, 1]; null: the peak is unknown."""


_KEYS = tuple(MetricsRow.__annotations__)
_KINDS = ("train", "evaluation")


class MetricsLog:
    """An append-only file of rows; when `append` returns, the row is in the file.

    Args:
        path: created with the first row; a line that a killed process left incomplete is dropped.
        is_patient: if the disk refuses rows, keep them and write them with a later one.
        say: reports when that happens.
    """

    def __init__(
        self,
        path: Path,
        *,
        is_patient: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._path = path
        self._is_patient, self._say = is_patient, say
        self._waiting, self._has_failed = b"", False
        if path.exists():
            _drop_torn_line(path)

    def append(self, row: MetricsRow) -> None:
        """Write one row.

        Raises:
            ValueError: the row has an unknown key, no step, or no known kind.
            OSError: the disk refuses, and the log is not patient.
        """
        unknown = sorted(set(row) - set(_KEYS))
        if unknown or not isinstance(row.get("step"), int) or row.get("kind") not in _KINDS:
            raise ValueError(
                f"metrics row {dict(row)!r} needs an integer step, a kind among {_KINDS}, and no "
                f"keys other than {_KEYS}"
            )
        self._waiting += _to_line(row).encode()
        try:
            append(self._path, self._waiting)
        except OSError as error:
            if not self._is_patient:
                self._waiting = b""
                raise
            if not self._has_failed:
                self._say(f"metrics stay in memory until the disk accepts them: {error}")
            self._has_failed = True
        else:
            self._waiting, self._has_failed = b"", False

    def truncate_after(self, step: int) -> int:
        """Drop damaged lines, and rows beyond `step`, which a resumed run writes again.

        Returns:
            The number of damaged lines.
        """
        if not self._path.exists():
            return 0
        rows, damaged = [], 0
        for line in self._path.read_bytes().splitlines():
            try:
                rows.append(_from_line(line.decode(), str(self._path)))
            except ValueError:
                damaged += 1
        kept = "".join(_to_line(row) for row in rows if row["step"] <= step)
        write_atomically(self._path, [kept.encode()])
        return damaged


def read_metrics(path: Path) -> list[MetricsRow]:
    """Read all complete rows, in order; a last line still being written is left out.

    Raises:
        ValueError: a complete line is not a metrics row; the message names the line.
    """
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}; restore or remove it") from error
    return [_from_line(line, f"{path}, line {i}") for i, line in enumerate(lines, start=1)]


def read_readable_metrics(path: Path) -> tuple[list[MetricsRow], list[str]]:
    """Read all intact rows, for display.

    Returns:
        The rows in order, and one message per damaged line. No file: no rows.
    """
    if not path.exists():
        return [], []
    rows, problems = [], []
    *lines, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        source = f"{path.name}, line {number}"
        try:
            row = _from_line(line, source)
        except ValueError as error:
            problems.append(f"left out: {error}")
            continue
        if isinstance(row["step"], int) and row["kind"] in _KINDS:
            rows.append(row)
        else:
            problems.append(f"left out: {source} has no step or no known kind")
    return rows, problems


def _to_line(row: MetricsRow) -> str:
    document = {key: _to_json(row.get(key)) for key in _KEYS}
    document |= {"format": FORMAT, "version": VERSION}
    return json.dumps(document, allow_nan=False) + "\n"


def _from_line(line: str, source: str) -> MetricsRow:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{source} is not JSON ({error}); remove the line") from error
    if not isinstance(document, dict):
        raise ValueError(f"{source} is not a JSON object; remove the line")
    require_format(document, name=FORMAT, version=VERSION, source=source)
    return cast(MetricsRow, dict(_from_json(document)))  # types of values are not checked


def _to_json(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(document: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for key in _KEYS:
        value = document.get(key)
        yield key, float(value) if isinstance(value, str) and key != "kind" else value


def _drop_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
