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
from bench.tokenization.tasks import WARM_UP_BYTES, WARM_UP_SIZE, Outcome, beginning, peak_bytes
from bpe import count_pretokens, train_vocabulary, vocabulary_from_counts

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
    with tempfile.TemporaryDirectory() as scratch:
        text = beginning(path, Path(scratch, "text.txt"), WARM_UP_BYTES)
        train_vocabulary(text, WARM_UP_SIZE, [END_OF_TEXT], num_workers=num_threads)
    before, marks = peak_bytes(), [time.perf_counter()]
    with path.open("rb") as read:
        while read.read(1 << 20):
            pass
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
