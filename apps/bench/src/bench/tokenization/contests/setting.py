"""Hold the setting that all contests of a run share.

Stage: the command's options -> *setting* -> contests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.measurement.harness import Entry, Order
from bench.texts.corpora import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One run on one corpus."""

    corpus: Corpus
    vocabulary: Path
    thread_counts: tuple[int, ...]
    work_dir: Path
    """Folder for files that only this run needs."""
    bandwidth: Mapping[int, float]
    """Speed of memcpy: bytes read and written per second, by number of threads."""
    train_vocab_size: int
    growth_bytes: int
    """Size of the smaller hostile text."""
    ids_bytes: int
    """Text whose ids are to be decoded."""

    @property
    def shared(self) -> dict[str, str | int]:
        """Return the arguments of most tasks."""
        return {"vocabulary": str(self.vocabulary), "file": str(self.corpus.path)}

    def entry(
        self,
        name: str,
        contestant: str,
        task: str,
        *,
        arguments: Mapping[str, str | int],
        num_threads: int = 1,
        is_check: bool = False,
    ) -> Entry:
        """Return an entry for one task."""
        order = Order(
            contestant=contestant, task=task, num_threads=num_threads, arguments=arguments
        )
        return Entry(name=name, order=order, is_check=is_check)

    def floor_seconds(self, num_bytes: float, num_threads: int) -> float:
        """Return how long moving a number of bytes through memory takes."""
        return num_bytes / self.bandwidth[num_threads]
