"""Measure the time and memory of training and encoding.

Stage: texts -> *contests*: samples in processes of their own, in turns. Not here: what is timed in
a sample (`tokenizers.tasks`, `tokenization.tasks`).
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.measurement.harness import Entry, Order, Result, Sample, run_contest
from bench.texts.vocabulary import END_OF_TEXT
from bench.tokenizers.texts import Texts

Run = Callable[[Order], Sample]


def train_all(
    texts: Sequence[Texts],
    sizes: Mapping[str, int],
    *,
    threads: Sequence[int],
    num_rounds: int,
    run: Run,
    say: Callable[[str], None],
) -> dict[str, Result]:
    """Train each vocabulary on each number of threads, and save it beside its text."""
    entries = [
        Entry(
            name=train_name(text.name, num_threads),
            order=Order(
                contestant="ours",
                task="train",
                tasks="bench.tokenizers.tasks",
                num_threads=num_threads,
                arguments={
                    "file": str(text.train),
                    "vocab_size": sizes[text.name],
                    "folder": str(tokenizer_folder(text)),
                },
            ),
        )
        for text in texts
        for num_threads in threads
    ]
    return run_contest(entries, num_rounds=num_rounds, rng=random.Random(0), run=run, progress=say)


def encode_all(
    texts: Sequence[Texts],
    *,
    threads: Sequence[int],
    num_rounds: int,
    run: Run,
    say: Callable[[str], None],
) -> dict[str, Result]:
    """Encode each training text with each vocabulary, from a file to ids in memory."""
    for by in texts:
        special = {END_OF_TEXT: 0}  # special tokens have the first ids
        (by.train.parent / "special.json").write_text(json.dumps(special), "utf-8")
    entries = [
        Entry(
            name=encode_name(text.name, by.name, num_threads),
            order=Order(
                contestant="ours",
                task="encode",
                num_threads=num_threads,
                arguments={
                    "vocabulary": str(by.train.parent),
                    "file": str(text.train),
                    "digest": f"ids of {text.name} by {by.name}",
                },
            ),
        )
        for text in texts
        for by in texts
        for num_threads in threads
    ]
    return run_contest(entries, num_rounds=num_rounds, rng=random.Random(0), run=run, progress=say)


def tokenizer_folder(texts: Texts) -> Path:
    """Return the folder of a text's tokenizer."""
    return texts.train.parent / "tokenizer"


def train_name(text: str, num_threads: int) -> str:
    """Return the name of the trainings on a text."""
    return f"train {text}, {num_threads} thr"


def encode_name(text: str, by: str, num_threads: int) -> str:
    """Return the name of the encodings of a text by the vocabulary of another, or its own."""
    return f"encode {text} by {by}, {num_threads} thr"
