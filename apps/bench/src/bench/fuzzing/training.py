"""Compare the counting and merging kernels with the slow definition.

Stage: texts -> *pretokens, counts, merges, twice* -> findings. Not here: the texts (`texts`).
"""

import itertools
import random
from pathlib import Path

import numpy as np

from bench.fuzzing.campaign import FindingError
from bench.fuzzing.texts import SPECIALS, draw_bytes, draw_texts
from bpe import PATTERNS, TIE_BREAKING, CountSettings, PretokenCounts, Pretokenizer
from bpe.counting.threads import count_in_threads
from bpe.kernel_parts import Cutter, address_of
from bpe.merges import merge_compiled, merge_plainly
from bpe.pieces import cut_files
from bpe.reference import count_reference, merge_reference

_CUTS, _DOCUMENTS, _CORPORA = 2000, 2000, 50
_PADDINGS = (0, 0, 1, 63, 64, 65, 200)
_CAPACITIES = (1 << 13, 1 << 13, 1, 3)
_WEIGHTS = (1, 1, 1, 2, 3, 2**31 - 1, 2**31, 2**33)
_MAX_WORDS, _MAX_WORD_BYTES, _MAX_MERGES = 8, 24, 30


class CutTexts:
    """Text to pretokens by the compiled scanners, checked against the `regex` module."""

    def __init__(self, folder: Path) -> None:
        del folder
        names = itertools.product(PATTERNS, set(_CAPACITIES))
        self._cutters = {key: Cutter(key[0], capacity=key[1]) for key in names}
        self._pretokenizers = {name: Pretokenizer(name) for name in PATTERNS}

    def run(self, rng: random.Random) -> int:
        """Try a batch of texts with one pattern."""
        name = rng.choice(list(PATTERNS))
        cutter = self._cutters[name, rng.choice(_CAPACITIES)]
        split = self._pretokenizers[name].split
        for text in draw_texts(rng, _CUTS):
            content, padding = text.encode(), rng.choice(_PADDINGS)
            truth = list(itertools.accumulate(len(part.encode()) for part in split(text)))
            if (ends := _ends(cutter, content, padding)) != truth:
                raise FindingError(
                    f"{name} splits {content!r} at {ends} instead of {truth}, padding {padding}",
                    {"input.bin": content},
                )
        return _CUTS


class CountDocuments:
    """A file to pretoken counts by kernels, checked by counting one document after another."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "count.txt"

    def run(self, rng: random.Random) -> int:
        """Try a file of documents with one pattern."""
        pattern = rng.choice(list(PATTERNS))
        texts = draw_texts(rng, _DOCUMENTS)
        content = SPECIALS[0].join(texts).encode()
        self._file.write_bytes(content)
        settings = CountSettings(PATTERNS[pattern], SPECIALS)
        pieces = cut_files([self._file], SPECIALS, cut_at_spaces=True)
        packed = count_in_threads(pieces, settings=settings, num_threads=2, report=lambda _: None)
        found = PretokenCounts.from_packed(packed, settings).by_pretoken
        truth = count_reference(content.decode(), SPECIALS, pattern=pattern)
        truth.pop(b"", None)
        if found != dict(truth):
            differing = {key for key in found.keys() | truth if found.get(key) != truth.get(key)}
            raise FindingError(
                f"{pattern}: {len(differing)} counts differ, such as that of {min(differing)!r}",
                {"input.txt": content},
            )
        return len(texts)


class MergeCounts:
    """Counts to merges by kernels and by plain Python, checked by recounting in every step."""

    def __init__(self, folder: Path) -> None:
        del folder

    def run(self, rng: random.Random) -> int:
        """Try a batch of small corpora, each under one rule for ties."""
        for _ in range(_CORPORA):
            counts = _draw_counts(rng)
            rule, num_merges = rng.choice(list(TIE_BREAKING)), rng.randrange(_MAX_MERGES)
            truth = merge_reference(counts, num_merges, tie_breaking=rule)
            how = {"tie_breaking": rule, "progress": lambda done, total: None}
            packed = PretokenCounts(counts)
            for name, found in (
                ("merge_plainly", merge_plainly(counts, num_merges, **how)),
                ("merge_compiled", merge_compiled(packed, num_merges, **how)),
            ):
                if found != truth:
                    raise FindingError(
                        f"{name} by {rule}: {found} instead of {truth}, from {counts}",
                        {"input.txt": repr((rule, num_merges, counts)).encode()},
                    )
        return _CORPORA


def _ends(cutter: Cutter, content: bytes, padding: int) -> list[int]:
    """Split a buffer after which `padding` more bytes may be read."""
    buffer = np.frombuffer(content + b"s\xa0\x80'" * (padding // 4 + 1), np.uint8)
    cutter.open(address_of(buffer), len(content), len(content) + padding)
    ends = []
    while count := cutter.cut():
        base = cutter.origin - address_of(buffer)
        ends += [base + end for end in cutter.ends[:count].tolist()]
    return ends


def _draw_counts(rng: random.Random) -> dict[bytes, int]:
    num_words = rng.randrange(1, _MAX_WORDS)
    if rng.random() < 0.5:
        letters = rng.choice([b"a", b"ab", b"abc", b"\x00\x01", b"\x7f\x80\xff", b" a!"])
        lengths = [rng.randrange(1, _MAX_WORD_BYTES) for _ in range(num_words)]
        words = [bytes(rng.choices(letters, k=length)) for length in lengths]
    else:
        words = [data[:_MAX_WORD_BYTES] or b"a" for data in draw_bytes(rng, num_words)]
    return {word: rng.choice(_WEIGHTS) for word in words}
