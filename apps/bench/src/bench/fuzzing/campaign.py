"""Try inputs until the time is up, and keep findings.

Stage: targets -> *batches by seed* -> totals, findings. A batch is determined by its target's name
and a whole number, so every finding can be reproduced. Not here: any target.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol


class FindingError(Exception):
    """An input that violates what its target promises; `files` holds its parts by name."""

    def __init__(self, problem: str, files: Mapping[str, bytes]) -> None:
        super().__init__(problem)
        self.files = dict(files)


class Target(Protocol):
    """Code that must withstand any input."""

    def run(self, rng: random.Random) -> int:
        """Try a batch of inputs drawn from `rng`; return their number.

        Raises:
            FindingError: an input violates what the target promises.
        """
        ...


@dataclass(kw_only=True)
class Tally:
    """Totals of one target."""

    target: str
    first_seed: int
    num_batches: int = 0
    num_inputs: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)


def run_campaign(
    targets: Mapping[str, Target],
    tallies: Mapping[str, Tally],
    *,
    is_over: Callable[[Tally], bool],
    keep_in: Path,
    say: Callable[[str], None],
) -> None:
    """Run one batch per target in turn until all are over; `tallies` holds where each resumes."""
    waiting = dict(targets)
    while waiting:
        for name, target in list(waiting.items()):
            if is_over(tallies[name]):
                del waiting[name]
            else:
                _run_batch(target, tallies[name], keep_in=keep_in, say=say)


def batch_rng(target: str, seed: int) -> random.Random:
    """Return the generator of all draws of a batch."""
    return random.Random(f"{target} {seed}")


def read_log(path: Path) -> list[Tally]:
    """Return what earlier campaigns wrote to a log; nothing if there is none."""
    if not path.exists():
        return []
    try:
        return [Tally(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a log of `bench fuzz` ({error}); name another") from None


def append_log(path: Path, tallies: list[Tally]) -> None:
    """Append one line per target."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(tally)) + "\n" for tally in tallies)


def _run_batch(target: Target, tally: Tally, *, keep_in: Path, say: Callable[[str], None]) -> None:
    seed = tally.first_seed + tally.num_batches
    started = time.perf_counter()
    tally.num_batches += 1
    try:
        tally.num_inputs += target.run(batch_rng(tally.target, seed))
    except FindingError as finding:
        folder = keep_in / f"{tally.target}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in finding.files.items():
            (folder / name).write_bytes(content)
        (folder / "problem.txt").write_text(f"{finding}\n", encoding="utf-8")
        tally.findings.append(f"seed {seed}: {finding}")
        say(f"FINDING: {tally.target} seed {seed}: {finding}")
        again = f"uv run --package bench bench fuzz --only {tally.target} --seed {seed} --batches 1"
        say(f"  kept in {folder}; again: {again}")
    finally:
        tally.seconds += time.perf_counter() - started
