"""Time one training by stages, in a process of its own.

Stage: order -> *sample*: seconds by stage, and memory. Not here: processes and their order
(`measurement.harness`), encoding (`tokenization.tasks`).
"""

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from bench.texts.vocabulary import END_OF_TEXT
from bench.tokenization.tasks import Outcome, peak_bytes
from bpe import count_pretokens, train_vocabulary, vocabulary_from_counts

_WARM_UP_BYTES, _WARM_UP_SIZE = 1 << 22, 1000
STAGES = ("read", "count", "prepare", "first tenth", "to half", "second half", "finish", "save")


def train(
    contestant: ModuleType, *, num_threads: int, file: str, vocab_size: int, folder: str
) -> Outcome:
    """Train and save a vocabulary; seconds by stage.

    Stages: "read" is reading the file alone, which counting does as well; "count" is text to
    pretoken counts; "prepare" is counts to pairs; the merges follow, in three parts; "finish"
    builds the vocabulary. A small training goes first, so that all code is loaded.
    """
    path = Path(file)
    _warm_up(path, num_threads)
    before, marks = peak_bytes(), [time.perf_counter()]
    _read(path)
    marks.append(time.perf_counter())
    counts = count_pretokens(path, [END_OF_TEXT], num_workers=num_threads)
    marks.append(time.perf_counter())
    counted = peak_bytes()
    shares = {0.0: 0.0, 0.1: 0.0, 0.5: 0.0, 1.0: 0.0}

    def note(stage: str, done: int, total: int) -> None:
        for share, at in shares.items():
            if not at and done >= share * total:
                shares[share] = time.perf_counter()

    vocabulary = vocabulary_from_counts(counts, vocab_size, progress=note)
    marks += [*shares.values(), time.perf_counter()]
    vocabulary.save(Path(folder))
    marks.append(time.perf_counter())
    seconds = [end - start for start, end in pairwise(marks)]
    metrics = dict(zip(STAGES, seconds, strict=True))
    metrics |= {"train": sum(seconds[1:-1]), "kinds": len(counts), "bytes before": before}
    metrics |= {"bytes counted": counted, "pretokens": counts.num_pretokens}
    digests = {f"vocabulary of {vocab_size} from {path.parent.name}": vocabulary.fingerprint}
    return {"metrics": metrics, "digests": digests, "peak_bytes": peak_bytes()}


def _warm_up(path: Path, num_threads: int) -> None:
    with path.open("rb") as file, tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        text.write_bytes(file.read(_WARM_UP_BYTES).decode(errors="ignore").encode())
        train_vocabulary(text, _WARM_UP_SIZE, [END_OF_TEXT], num_workers=num_threads)


def _read(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass
