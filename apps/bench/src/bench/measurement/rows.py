"""Turn samples into rows of the table.

Stage: results -> *rows*. Not here: printing them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.measurement.harness import Result, Summary
from bench.measurement.targets import FIGURES, Figure, Verdict
from bench.texts.corpora import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One figure on one corpus."""

    key: str
    """In `FIGURES`."""
    corpus: str | None = None
    num_threads: int | None = None
    detail: str = ""
    """What distinguishes rows that share all this."""
    ours: Summary | None = None
    """Seconds, or bytes for memory."""
    peer: str | None = None
    theirs: Summary | None = None
    """The same for the peer, in its best way."""
    text_bytes: int | None = None
    """Bytes processed in that time, if a speed is more meaningful than seconds."""
    floor_seconds: float | None = None
    """Seconds that moving the text and the ids through memory would take."""
    is_judged: bool = True
    """Whether the targets apply; they do not for a corpus of another size."""
    note: str = ""

    @property
    def figure(self) -> Figure:
        """The targets."""
        return FIGURES[self.key]

    @property
    def value(self) -> float | None:
        """The figure itself; None if one side is missing."""
        if self.ours is None:
            return None
        if self.figure.unit != "x":
            return self.ours.median / (1e9 if self.figure.unit == "GB" else 1)
        if self.theirs is None:
            return None
        if self.figure.is_at_least:
            return self.theirs.median / self.ours.median
        return self.ours.median / self.theirs.median

    @property
    def verdict(self) -> Verdict:
        """The target that is reached."""
        return self.figure.judge(self.value) if self.is_judged else "reported"

    @property
    def limit_share(self) -> float | None:
        """Share of memory speed that is reached."""
        if self.ours is None or self.floor_seconds is None:
            return None
        return self.floor_seconds / self.ours.median

    def to_json(self) -> dict[str, object]:
        """Return all fields of the row."""
        figure = {f"target_{k}": v for k, v in asdict(self.figure).items() if k != "what"}
        computed = {"value": self.value, "verdict": self.verdict, "limit_share": self.limit_share}
        return {**asdict(self), "what": self.figure.what, **figure, **computed}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Fields that several rows of one contest share."""

    results: Mapping[str, Result]
    corpus: Corpus | None = None
    num_threads: int | None = None
    ours: str = "ours"

    def row(
        self, key: str, metric: str, peers: Sequence[str], *, ours: str | None = None, **more: Any
    ) -> Row:
        """Compare ours with the fastest of `peers`, which are ways to use one contestant."""
        result = self.results[self.ours if ours is None else ours]
        found = {name: one for name in peers if (one := self.results[name].summary(metric))}
        best = min(found, key=lambda name: found[name].median, default=None)
        failures = [] if best else [f"{name}: {self.results[name].failure[0]}" for name in peers]
        failures += [f"ours: {reason}" for reason in result.failure]
        return Row(
            key=key,
            corpus=self.corpus.name if self.corpus else None,
            num_threads=self.num_threads,
            ours=result.summary(metric),
            peer=best or (peers[0] if peers else None),
            theirs=found[best] if best else None,
            note="; ".join(failures),
            **more,
        )
