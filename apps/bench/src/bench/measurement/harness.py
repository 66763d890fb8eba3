"""Measure contestants so that the figures can be compared.

Stage: *orders -> samples -> medians*. Each sample is a process of its own, contestants take turns
in a new random order each round, and their results are compared. Not here: what is measured.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from bench.measurement.machine import busy_seconds, wait_until_idle

SAMPLE_TIMEOUT_SECONDS = 900


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What one process has to measure."""

    contestant: str
    """Name of a module in `bench.contestants`."""
    task: str
    """Name of a function in `bench.tokenization.tasks`."""
    arguments: Mapping[str, str | int | None] = field(default_factory=dict)
    num_threads: int = 1
    """Threads to use, and CPUs to pin to."""
    tasks: str = "bench.tokenization.tasks"
    """Module of the task."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the process, in addition to those of this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Measurements of one process."""

    metrics: Mapping[str, float]
    """Seconds (or the task's unit) by name."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Hashes of the results: equal names must have equal values."""
    peak_bytes: int | None = None
    """Peak resident set, including that of the largest child process."""
    foreign_cpus: float | None = None
    """Average number of CPUs that other processes kept busy meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A contestant in a contest."""

    name: str
    order: Order
    is_check: bool = False
    """Whether it runs only in the first round, for its result and not its time."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Median and range of some samples."""

    median: float
    minimum: float
    maximum: float
    num_samples: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Summarise at least one value.

        >>> Summary.of([3.0, 1.0, 8.0]).median
        3.0
        """
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True, slots=True)
class Result:
    """All samples of an entry, or the reason why there are none."""

    entry: Entry
    samples: list[Sample] = field(default_factory=list)
    failure: list[str] = field(default_factory=list)
    """Empty, or the reason why the entry was given up."""

    def summary(self, metric: str) -> Summary | None:
        """Summarise a metric; None if it was not measured or the entry is a check."""
        values = [sample.metrics[metric] for sample in self.samples if metric in sample.metrics]
        return Summary.of(values) if values and not self.failure else None

    def median(self, metric: str) -> float:
        """Return the middle of a metric that was measured."""
        summary = self.summary(metric)
        assert summary is not None, metric
        return summary.median

    def peak(self) -> Summary | None:
        """Summarise the peak resident sets, in bytes."""
        values = [float(sample.peak_bytes) for sample in self.samples if sample.peak_bytes]
        return Summary.of(values) if values and not self.failure else None


class SampleError(Exception):
    """A process ended without a sample; the message is its last output."""


def run_contest(
    entries: Sequence[Entry],
    *,
    num_rounds: int,
    rng: random.Random,
    run: Callable[[Order], Sample] | None = None,
    missing: Callable[[str], str | None] = lambda contestant: None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Result]:
    """Let contestants take turns, in a different order each round.

    An entry that fails is not run again; its result holds the reason.

    Args:
        entries: the participants, with different names.
        num_rounds: samples per entry.
        rng: draws the orders.
        run: takes one sample; None: in a new process.
        missing: returns why a contestant cannot run, or None.
        progress: receives the name of what runs next.
    """
    run = run_order if run is None else run
    results = {entry.name: Result(entry) for entry in entries}
    for entry in entries:
        results[entry.name].failure.extend(filter(None, [missing(entry.order.contestant)]))
    for turn in range(num_rounds):
        for entry in rng.sample(entries, len(entries)):
            result = results[entry.name]
            if result.failure or (entry.is_check and turn):
                continue
            progress(f"round {turn + 1}/{num_rounds} {entry.name}")
            try:
                result.samples.append(run(entry.order))
            except SampleError as error:
                result.failure.append(str(error))
    return results


def run_order(order: Order) -> Sample:
    """Measure in a new process.

    Raises:
        SampleError: the process failed, hung, or printed no valid result.
    """
    command = [sys.executable, "-m", "bench.measurement.sample", json.dumps(asdict(order))]
    threads = {"RAYON_NUM_THREADS": str(order.num_threads), "PYTHONHASHSEED": "0"}
    how = {"env": {**os.environ, **threads, **order.environment}, "capture_output": True}
    before, own_before, started = busy_seconds(), os.times(), time.perf_counter()
    try:
        done = subprocess.run(command, **how, check=False, timeout=SAMPLE_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise SampleError(f"no result after {SAMPLE_TIMEOUT_SECONDS} s") from None
    if done.returncode:
        raise SampleError(_last_line(done.stderr) or f"exit code {done.returncode}")
    try:
        measured = json.loads(_last_line(done.stdout))
    except json.JSONDecodeError:
        raise SampleError(f"no JSON at the end of {done.stdout[-200:]!r}") from None
    own, now = os.times(), time.perf_counter()
    return Sample(**measured, foreign_cpus=_foreign(before, own_before, own, now - started))


def run_when_idle(patience_seconds: float, order: Order) -> Sample:
    """Wait for idle CPUs, but not for ever, and measure in a fresh process."""
    wait_until_idle(patience_seconds)
    return run_order(order)


def find_disagreements(results: Iterable[Result]) -> list[str]:
    """Compare the results; return one line for each name whose values differ."""
    return [
        f"{name} differ: "
        + "; ".join(f"{digest[:12]} by {', '.join(sorted(who))}" for digest, who in by.items())
        for name, by in _by_digest(results).items()
        if len(by) > 1
    ]


def agreeing(results: Iterable[Result]) -> dict[str, list[str]]:
    """Return the contestants that computed each compared result, by its name."""
    return {name: sorted(set().union(*by.values())) for name, by in _by_digest(results).items()}


def _by_digest(results: Iterable[Result]) -> dict[str, dict[str, set[str]]]:
    found: dict[str, dict[str, set[str]]] = {}
    for result in results:
        for sample in result.samples:
            for name, digest in sample.digests.items():
                found.setdefault(name, {}).setdefault(digest, set()).add(result.entry.name)
    return found


def _foreign(
    before: float | None, own_before: os.times_result, own: os.times_result, seconds: float
) -> float | None:
    after = busy_seconds()
    if before is None or after is None:
        return None
    ours = sum(own[:4]) - sum(own_before[:4])
    return max(0.0, (after - before - ours) / seconds)


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
