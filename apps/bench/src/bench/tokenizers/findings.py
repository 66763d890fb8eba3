"""Hold all findings of a run.

Stage: texts, vocabularies, samples -> *findings* -> JSON. Not here: printing them (`tables`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.measurement.harness import Result, Summary
from bench.texts.corpora import Corpus
from bench.tokenizers.compression import Compressed
from bench.tokenizers.speed import encode_name, train_name
from bench.tokenizers.texts import Texts
from bench.tokenizers.vocabularies import Contents, LongToken
from tokenizer.stats import PILE_BYTES

FORMAT, VERSION = "bench-tokenizer-experiments", 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All findings of a run."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    corpora: list[Corpus]
    texts: list[Texts]
    threads: Sequence[int]
    compressed: list[Compressed] = field(default_factory=list)
    contents: dict[str, Contents] = field(default_factory=dict)
    longest: dict[str, list[LongToken]] = field(default_factory=dict)
    words: dict[str, list[bytes]] = field(default_factory=dict)
    """The longest tokens of letters alone."""
    shared: dict[str, int] = field(default_factory=dict)
    """Tokens in both, by the names of two vocabularies."""
    only: dict[str, list[bytes]] = field(default_factory=dict)
    """Tokens that the first learned earliest of those that the second lacks, likewise."""
    trainings: dict[str, Result] = field(default_factory=dict)
    encodings: dict[str, Result] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def speeds(self) -> list["Speed"]:
        """Return how fast each vocabulary encoded each text, on each number of threads."""
        found = []
        for text in self.texts:
            for by in self.texts:
                for num_threads in self.threads:
                    result = self.encodings[encode_name(text.name, by.name, num_threads)]
                    seconds, ids = result.summary("cold"), result.summary("num_ids")
                    if seconds is not None and ids is not None:
                        size = text.train.stat().st_size
                        found.append(
                            Speed(text.name, by.name, num_threads, size, seconds, int(ids.median))
                        )
        return found

    def training(self, text: str, num_threads: int) -> Result:
        """Return the trainings on a text."""
        return self.trainings[train_name(text, num_threads)]

    def to_json(self) -> dict[str, object]:
        """Return a run as JSON-compatible data."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "machine": self.machine,
            "settings": self.settings,
            "corpora": [corpus.to_json() for corpus in self.corpora],
            "texts": [text.to_json() for text in self.texts],
            "compression": [one.to_json() for one in self.compressed],
            "contents": {name: asdict(one) for name, one in self.contents.items()},
            "longest_tokens": {name: _tokens_json(v) for name, v in self.longest.items()},
            "shared_tokens": self.shared,
            "longest_words": _texts_json(self.words),
            "tokens_only_in": _texts_json(self.only),
            "trainings": _samples_json(self.trainings),
            "encodings": _samples_json(self.encodings),
            "speeds": [speed.to_json() for speed in self.speeds()],
            "problems": self.problems,
        }


@dataclass(frozen=True, slots=True)
class Speed:
    """Encoding one text with one vocabulary."""

    text: str
    by: str
    num_threads: int
    size_bytes: int
    seconds: Summary
    num_ids: int

    @property
    def bytes_per_second(self) -> float:
        """Of the median round."""
        return self.size_bytes / self.seconds.median

    @property
    def pile_seconds(self) -> float:
        """For the 825 GB of the Pile (Gao et al. 2020, arXiv:2101.00027), if it were such text."""
        return PILE_BYTES / self.bytes_per_second

    def to_json(self) -> dict[str, object]:
        """Return all fields."""
        speed = {"bytes_per_second": self.bytes_per_second, "pile_seconds": self.pile_seconds}
        return {**asdict(self), **speed}


def _tokens_json(tokens: Sequence[LongToken]) -> list[dict[str, object]]:
    return [{**asdict(one), "token": one.token.decode(errors="backslashreplace")} for one in tokens]


def _texts_json(tokens: Mapping[str, Sequence[bytes]]) -> dict[str, list[str]]:
    return {
        name: [token.decode(errors="backslashreplace") for token in some]
        for name, some in tokens.items()
    }


def _samples_json(results: Mapping[str, Result]) -> dict[str, object]:
    return {
        name: {
            "failure": result.failure[0] if result.failure else None,
            "samples": [asdict(sample) for sample in result.samples],
        }
        for name, result in results.items()
    }
