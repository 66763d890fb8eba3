"""Time one task in the process of a sample.

Stage: contestant -> *sample*. Every task returns `metrics`, `digests` of the results and
`peak_bytes`, and times only the contestant's call. Not here: processes and their order.
"""

import gc
import hashlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np

from bench.measurement.harness import Order, run_order
from bench.texts.vocabulary import END_OF_TEXT, read_end_of_text_id

Outcome = dict[str, dict[str, float] | dict[str, str] | int | None]

_T = TypeVar("_T")

SENTENCE = "Every file answers one question about one stage of the pipeline."
SHORT_LENGTHS = (10, 20, 50, 100)
_SHORT_BATCHES, _SHORT_TEXTS = 5, 2000
_TEXT_BYTES = 1 << 23  # beginning of the corpus, from which short texts are taken
WARM_UP_BYTES, WARM_UP_SIZE = 1 << 22, 1000  # enough for every contestant to load everything
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of getrusage
_COMPILED_BYTES, _COMPILED_SIZE = 1 << 25, 32_000  # enough for ours to decide to compile


def encode(
    contestant: ModuleType,
    *,
    num_threads: int,
    vocabulary: str,
    file: str,
    digest: str = "ids",
    passes: int = 2,
    mode: str | None = None,
) -> Outcome:
    """Encode a file to ids in memory, first with an empty cache and then again.

    Another encoder encodes a sentence first, so that all code is loaded.
    """
    options = {} if mode is None else {"mode": mode}

    def encoder() -> Callable[[Path], object]:
        return contestant.file_encoder(Path(vocabulary), num_threads=num_threads, **options)

    _load_all(encoder())
    run, metrics, ids = encoder(), {}, None
    for name in ("cold", "warm")[:passes]:
        ids = None  # before the next pass, not after it
        metrics[name], ids = _timed(lambda: run(Path(file)))
    peak = peak_bytes()
    ordinary = _ordinary(getattr(contestant, "flat", np.asarray)(ids), vocabulary)
    metrics["num_ids"] = len(ordinary)
    return _outcome(metrics, {digest: _hash(ordinary)}, peak)


def write(contestant: ModuleType, *, num_threads: int, vocabulary: str, file: str) -> Outcome:
    """Encode a file to a file."""
    make = partial(contestant.file_writer, Path(vocabulary), num_threads=num_threads)
    other, run = make(), make()
    with tempfile.TemporaryDirectory(dir=Path(file).parent) as folder:
        destination = Path(folder, "ids.npy")
        _load_all(lambda path: other(path, destination))
        seconds, _ = _timed(lambda: run(Path(file), destination))
        peak = peak_bytes()
        ids = _ordinary(np.load(destination, allow_pickle=False), vocabulary)
    return _outcome({"disk": seconds}, {"ids": _hash(ids)}, peak)


def calls(contestant: ModuleType, *, num_threads: int, vocabulary: str, file: str) -> Outcome:
    """Encode short texts one by one, each of them new; seconds per call."""
    run = contestant.text_encoder(Path(vocabulary))
    digest, metrics = hashlib.sha256(), {}
    for length in SHORT_LENGTHS:
        texts = short_texts(Path(file), length, (_SHORT_BATCHES + 1) * _SHORT_TEXTS)
        batches = [texts[i :: _SHORT_BATCHES + 1] for i in range(_SHORT_BATCHES + 1)]
        for text in batches.pop():
            run(text)
        times = []
        for batch in batches:
            seconds, lists = _timed(lambda batch=batch: [run(text) for text in batch])
            times.append(seconds / len(batch))
            digest.update(repr(lists).encode())
        metrics[str(length)] = statistics.median(times)
    metrics["mean"] = statistics.geometric_mean(metrics.values())
    return _outcome(metrics, {"ids of short texts": digest.hexdigest()}, peak_bytes())


def short_texts(path: Path, length: int, number: int) -> list[str]:
    """Take different texts of `length` characters from a corpus, at the starts of words."""
    with path.open("rb") as file:
        text = file.read(_TEXT_BYTES).decode(errors="ignore").replace(END_OF_TEXT, "\n")
    starts = [match.start() for match in re.finditer(r"(?<=\s)\S", text[:-length])]
    random.Random(length).shuffle(starts)
    return list(dict.fromkeys(text[start : start + length] for start in starts))[:number]


def decode(
    contestant: ModuleType, *, num_threads: int, vocabulary: str, ids: str, form: str
) -> Outcome:
    """Decode many ids, given as a list or as an array of the dtype `form`."""
    run = contestant.decoder(Path(vocabulary))
    array = np.load(ids, allow_pickle=False)
    given = array.tolist() if form == "list" else array.astype(form)
    run(given[:1000])
    times, text = [], b""
    for _ in range(3):
        seconds, text = _timed(lambda: run(given))
        times.append(seconds)
    metrics = {"decode": statistics.median(times)}
    return _outcome(metrics, {"text": hashlib.sha256(text).hexdigest()}, peak_bytes())


def train(
    contestant: ModuleType,
    *,
    num_threads: int,
    file: str,
    vocab_size: int,
    ties: str,
    is_warm: int = 1,
    digest: str | None = None,
) -> Outcome:
    """Train; a training on the beginning of the file goes first, so that all code is loaded."""
    run = contestant.trainer(num_threads=num_threads, ties=ties)
    if is_warm:
        with tempfile.TemporaryDirectory() as folder:
            run(beginning(Path(file), Path(folder, "text.txt"), WARM_UP_BYTES), WARM_UP_SIZE)
    seconds, trained = _timed(lambda: run(Path(file), vocab_size))
    peak = peak_bytes()
    digests = {}
    if digest is not None:
        merges = getattr(contestant, "merges", list)(trained)
        lines = (f"{a.hex()} {b.hex()}\n" for a, b in merges)
        digests[digest] = hashlib.sha256("".join(lines).encode()).hexdigest()
    return _outcome({"train": seconds}, digests, peak)


def start(contestant: ModuleType, *, num_threads: int, vocabulary: str, how: str) -> Outcome:
    """Start Python, load a tokenizer and encode a sentence; seconds until its ids arrive."""
    code = contestant.start_code(Path(vocabulary), how=how)
    code += f"\nprint(*map(int, encode({SENTENCE!r})), flush=True)"
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as child:
        assert child.stdout is not None
        ids = child.stdout.readline().strip()
        seconds = time.perf_counter() - started
    return _outcome({"start": seconds}, {"ids of a sentence": ids}, None)


def compile_kernels(
    contestant: ModuleType, *, num_threads: int, vocabulary: str, file: str, cache: str
) -> Outcome:
    """Load the compiled kernels of both packages, and compile the missing ones; ours only.

    `cache` is "empty", for a process with a new cache folder, or "kept".
    """
    if cache == "empty":
        return _with_empty_cache({"vocabulary": vocabulary, "file": file}, num_threads)
    seconds, _ = _timed(lambda: contestant.warm_up(Path(vocabulary)))
    train_once = contestant.trainer(num_threads=num_threads, ties="cs336")
    with tempfile.TemporaryDirectory() as folder:
        text = beginning(Path(file), Path(folder, "text.txt"), _COMPILED_BYTES)
        train_seconds, _ = _timed(lambda: train_once(text, _COMPILED_SIZE))
    metrics = {"tokenizer": seconds, "bpe": train_seconds, "both": seconds + train_seconds}
    return _outcome(metrics, {}, peak_bytes())


def _with_empty_cache(arguments: dict[str, str], num_threads: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        order = Order(
            contestant="ours",
            task="compile_kernels",
            num_threads=num_threads,
            arguments={**arguments, "cache": "kept"},
            environment={"NUMBA_CACHE_DIR": folder},
        )
        sample = run_order(order)
        if not any(Path(folder).rglob("*.nbi")):
            raise RuntimeError("nothing was compiled into the empty kernel cache")
    return _outcome(dict(sample.metrics), {}, sample.peak_bytes)


def _timed(call: Callable[[], _T]) -> tuple[float, _T]:
    gc.collect()
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def _load_all(run: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sentence.txt")
        path.write_text(SENTENCE * 1000, "utf-8")
        run(path)


def beginning(source: Path, destination: Path, size_bytes: int) -> Path:
    """Copy a number of bytes of a file, repeating the file if it is shorter."""
    with source.open("rb") as file:
        text = file.read(size_bytes).decode(errors="ignore").encode()
    destination.write_bytes(text * -(-size_bytes // len(text)))
    return destination


def _ordinary(ids: np.ndarray, vocabulary: str) -> np.ndarray:
    """Leave out end-of-text, which some contestants do not emit."""
    return ids[ids != read_end_of_text_id(Path(vocabulary))]


def _hash(ids: np.ndarray) -> str:
    digest = hashlib.sha256()
    for first in range(0, len(ids), 1 << 22):
        digest.update(ids[first : first + (1 << 22)].astype("<u4").tobytes())
    return digest.hexdigest()


def peak_bytes() -> int:
    """Return the peak resident set of this process, including that of its largest child."""
    return own_peak_bytes() + _reported_bytes("RUSAGE_CHILDREN")


def own_peak_bytes() -> int:
    """Return the peak resident set of this process, which in `getrusage` starts at its parent's."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text("utf-8"))):
        return int(found[1]) * 1024
    return _reported_bytes("RUSAGE_SELF")


def _reported_bytes(whose: str) -> int:
    try:
        import resource
    except ImportError:  # Windows, or a Python built without it
        raise ValueError("this Python has no module resource, which reports peak memory") from None
    return resource.getrusage(getattr(resource, whose)).ru_maxrss * _RSS_UNIT


def _outcome(metrics: dict[str, float], digests: dict[str, str], peak: int | None) -> Outcome:
    return {"metrics": metrics, "digests": digests, "peak_bytes": peak}
