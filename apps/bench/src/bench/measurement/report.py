"""Save a run for others to read.

Stage: report -> *JSON*. It holds every sample, so that any other summary can be computed. Not here:
the table for people.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.durable import write_json
from bench.measurement.harness import Result, agreeing
from bench.measurement.rows import Row
from bench.texts.corpora import Corpus

VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All results of a run."""

    subject: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    bandwidth: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Other settings that a reader has to know."""
    agreement: str = "all compared ids, texts and merges agree"
    """Message if there is no problem."""
    corpora: list[Corpus] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    contests: list[tuple[str, str, dict[str, Result]]] = field(default_factory=list)
    """Contest, corpus, results."""
    problems: list[str] = field(default_factory=list)
    """Disagreements, and failures of ours."""


def write_report(report: Report, path: Path) -> None:
    """Write a run as JSON."""
    write_json(path, report_json(report))


def report_json(report: Report) -> dict[str, object]:
    """Return a run as JSON-compatible data."""
    return {
        "format": f"bench-{report.subject}",
        "version": VERSION,
        "machine": report.machine,
        "settings": report.settings,
        "memcpy_bytes_per_second": {str(n): speed for n, speed in report.bandwidth.items()},
        "corpora": [corpus.to_json() for corpus in report.corpora],
        "notes": report.notes,
        "rows": [row.to_json() for row in report.rows],
        "contests": [
            {
                "contest": contest,
                "corpus": corpus,
                "agree_on": agreeing(results.values()),
                "entries": [_entry_json(result) for result in results.values()],
            }
            for contest, corpus, results in report.contests
        ],
        "problems": report.problems,
    }


def _entry_json(result: Result) -> dict[str, object]:
    order = result.entry.order
    return {
        "name": result.entry.name,
        "contestant": order.contestant,
        "task": order.task,
        "threads": order.num_threads,
        # Paths describe this machine more than the sample.
        "arguments": {k: v for k, v in order.arguments.items() if not Path(str(v)).is_absolute()},
        "is_check": result.entry.is_check,
        "failure": result.failure[0] if result.failure else None,
        "samples": [asdict(sample) for sample in result.samples],
    }
