"""Read a run directory: configuration, metrics, samples, summary.

Stage: run directory -> *RunHistory* -> findings, plots, tables. The run may be in progress, cut
short or damaged; unreadable parts are skipped and reported, never guessed.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from trainer.config.presets import flat_settings, load_config
from trainer.config.run_config import RunConfig
from trainer.evaluation.loss_rise import find_rise
from trainer.monitoring.metrics import MetricsRow, read_readable_metrics
from trainer.storage.run_directory import RunDirectory, require_run
from trainer.summary import Summary

_SAMPLE = re.compile(r"step-(\d+)\.txt")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunHistory:
    """One run up to now."""

    path: Path
    config: RunConfig
    train: list[MetricsRow]
    """One row per logging step, steps ascending, losses finite."""
    evaluations: list[MetricsRow]
    """One row per evaluation, steps ascending, losses finite."""
    samples: list[tuple[int, str]]
    """(step, text), steps ascending."""
    summary: Summary | None
    """None: the run has not finished."""
    diverged_at: int | None
    """Step from which on no loss is finite; None: the last loss is."""
    problems: list[str]
    """One line per part that could not be read."""

    @property
    def name(self) -> str:
        """Name of the run on the page."""
        return self.path.name or str(self.path)

    @property
    def last_step(self) -> int:
        """Last step in the metrics."""
        return 0 if self.last_row is None else self.last_row["step"]

    @property
    def last_row(self) -> MetricsRow | None:
        """Metrics of the last step; None: there are none."""
        rows = [*self.train, *self.evaluations]
        return max(rows, key=lambda row: row["step"], default=None)

    @property
    def divergence(self) -> str | None:
        """Description of the divergence; None: the run has not diverged."""
        if self.diverged_at is not None:
            return f"its loss is not finite from step {self.diverged_at:,} on"
        rise = find_rise([row["loss"] for row in self.train])
        return None if rise is None else str(rise)

    @property
    def validation_loss(self) -> float | None:
        """Nats per token: of all validation tokens if the run has finished, else the latest."""
        if self.summary is not None:
            return self.summary.validation_loss
        return self.evaluations[-1]["loss"] if self.evaluations else None

    @property
    def bits_per_nat_token(self) -> float | None:
        """Factor from nats per token to bits per byte; None: the run has not finished."""
        if self.summary is None or not self.summary.scored_bytes:
            return None
        return self.summary.scored_tokens / self.summary.scored_bytes / math.log(2)

    @property
    def bits_per_byte(self) -> float | None:
        """The validation loss in bits per byte; None: unknown, or the run has not finished."""
        factor, loss = self.bits_per_nat_token, self.validation_loss
        return None if factor is None or loss is None else loss * factor

    @property
    def settings(self) -> dict[str, str]:
        """Every field of the configuration, named as on the command line, with its value."""
        return flat_settings(self.config)


def read_history(path: Path) -> RunHistory:
    """Read a run directory.

    Raises:
        ValueError: it is not a run, or its configuration is damaged.
    """
    run = require_run(path)
    config = load_config(run.config)
    rows, problems = read_readable_metrics(run.metrics)
    # A resumed run may have logged a step twice: the later line counts.
    latest = {(row["kind"], row["step"]): row for row in rows}
    ordered = sorted(latest.values(), key=lambda row: row["step"])
    broken = takewhile(lambda row: not math.isfinite(_loss(row)), reversed(ordered))
    summary, trouble = _read_summary(run)
    finite = [row for row in ordered if math.isfinite(_loss(row))]
    return RunHistory(
        path=path.resolve(),
        config=config,
        train=[row for row in finite if row["kind"] == "train"],
        evaluations=[row for row in finite if row["kind"] == "evaluation"],
        samples=sorted(_read_samples(run)),
        summary=summary,
        diverged_at=min((row["step"] for row in broken), default=None),
        problems=problems + trouble,
    )


def differing_settings(histories: list[RunHistory]) -> dict[str, list[str | None]]:
    """Return the settings that differ between runs, with each run's value."""
    settings = [history.settings for history in histories]
    names = dict.fromkeys(name for one in settings for name in one)
    values = {name: [one.get(name) for one in settings] for name in names}
    return {name: given for name, given in values.items() if len(set(given)) > 1}


def _loss(row: MetricsRow) -> float:
    loss = row.get("loss")
    return math.nan if loss is None else loss


def _read_summary(run: RunDirectory) -> tuple[Summary | None, list[str]]:
    if not run.summary.exists():
        return None, []
    try:
        return Summary.load(run.summary), []
    except ValueError as error:
        return None, [f"no summary: {error}"]


def _read_samples(run: RunDirectory) -> Iterator[tuple[int, str]]:
    folder = run.sample(0).parent
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _SAMPLE.fullmatch(path.name):
            yield int(match[1]), path.read_text(encoding="utf-8", errors="replace")
