"""Read what a run left: configuration, numbers over time, samples, final report.

Stage: run directory -> *RunHistory* -> findings, plots, tables. A run may be going on, cut short or
damaged: what cannot be read is left out, counted and named, never guessed.
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
    """One run as far as it went."""

    path: Path
    config: RunConfig
    train: list[MetricsRow]
    """A row a logging step, steps ascending, losses finite."""
    evaluations: list[MetricsRow]
    """A row an evaluation, steps ascending, losses finite."""
    samples: list[tuple[int, str]]
    """(step, text), steps ascending."""
    summary: Summary | None
    """None: the run has not ended."""
    diverged_at: int | None
    """First step of those at the end whose loss is no finite number; None: the last one's is."""
    problems: list[str]
    """What could not be read, one line each."""

    @property
    def name(self) -> str:
        """What the run is called on the page."""
        return self.path.name or str(self.path)

    @property
    def last_step(self) -> int:
        """Updates made, as far as the metrics know."""
        return 0 if self.last_row is None else self.last_row["step"]

    @property
    def last_row(self) -> MetricsRow | None:
        """What was known at the last step; None: no row could be read."""
        rows = [*self.train, *self.evaluations]
        return max(rows, key=lambda row: row["step"], default=None)

    @property
    def divergence(self) -> str | None:
        """How the training loss diverged, in words; None: it did not."""
        if self.diverged_at is not None:
            return f"at step {self.diverged_at:,} its loss is no number"
        rise = find_rise([row["loss"] for row in self.train])
        return None if rise is None else str(rise)

    @property
    def validation_loss(self) -> float | None:
        """Nats a token: over all validation tokens of a finished run, else the last evaluation."""
        if self.summary is not None:
            return self.summary.validation_loss
        return self.evaluations[-1]["loss"] if self.evaluations else None

    @property
    def bits_per_nat_token(self) -> float | None:
        """Bits per byte that one nat a token is worth; None: the run has not ended."""
        if self.summary is None or not self.summary.scored_bytes:
            return None
        return self.summary.scored_tokens / self.summary.scored_bytes / math.log(2)

    @property
    def settings(self) -> dict[str, str]:
        """Every field of the configuration as the command line spells it, with its value."""
        return flat_settings(self.config)


def read_history(path: Path) -> RunHistory:
    """Read a run directory.

    Raises:
        ValueError: it is no run, or its configuration is damaged.
    """
    run = require_run(path)
    config = load_config(run.config)
    rows, problems = read_readable_metrics(run.metrics)
    # A run that was cut and resumed elsewhere may say a step twice: the later line counts.
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
    """Return the settings that are not the same in all runs, with each run's value."""
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
        return None, [f"no final report: {error}"]


def _read_samples(run: RunDirectory) -> Iterator[tuple[int, str]]:
    folder = run.sample(0).parent
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _SAMPLE.fullmatch(path.name):
            yield int(match[1]), path.read_text(encoding="utf-8", errors="replace")
