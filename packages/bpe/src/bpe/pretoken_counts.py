"""How often does each pretoken occur, and what can be done with that?

Stage: files -> *pretoken counts* -> merges. Counts of parts add up to the counts of the whole, so
counting can be spread over files, processes and machines. Held as a few arrays, because a corpus
has millions of kinds of pretokens. Not here: counting (`counts`) and files of counts
(`counts_file`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bpe.arguments import as_path, require, require_all, require_iterable, require_whole_number
from bpe.excerpts import excerpt
from bpe.patterns import PATTERNS
from bpe.plural import plural
from bpe.unicode_classes import UNICODE_VERSION

MAX_COUNT = 2**63 - 1
_LARGE_KINDS = 1 << 18  # counts of more kinds than this are added up by a kernel, if it is ready


@dataclass(frozen=True)
class CountSettings:
    """What decides which pretokens a text has; counts add up only where all of it is the same.

    Attributes:
        pattern: regex source of the split pattern.
        special_tokens: strings that separate documents, in the order of their ids.
        unicode_version: of the character classes.
    """

    pattern: str
    special_tokens: tuple[str, ...] = ()
    unicode_version: str = UNICODE_VERSION

    def __post_init__(self) -> None:
        require(self.pattern, str, name="pattern", needed="a regex as str")
        needed = "a tuple of strings"
        require_iterable(self.special_tokens, name="special_tokens", needed=needed)
        for special in self.special_tokens:
            require(special, str, name="a special token", needed="a str")


class Packed(NamedTuple):
    """Pretokens one behind the other, all different."""

    content: np.ndarray  # (sum of lengths,) uint8
    lengths: np.ndarray  # (n,) int64, 1 or more
    counts: np.ndarray  # (n,) int64, 1 or more


class Dropped(NamedTuple):
    """What a limit on the kinds of pretokens has cost."""

    num_kinds: int = 0
    """Kinds, each as often as it was dropped: one that comes again can be dropped again."""
    num_pretokens: int = 0
    """Occurrences, which the counts lack."""


class PretokenCounts:
    """Occurrences of each pretoken.

    Counts of several corpora add up: `a + b` counts both.

    Args:
        by_pretoken: occurrences by pretoken.
        settings: how the text was cut; None if that is not known.

    Attributes:
        settings: as given.
        dropped: what was left out to stay within `max_pretokens`.

    Raises:
        ValueError: an empty pretoken, or a count below 1 or above 2^63 - 1.

    >>> a = PretokenCounts({b"low": 2}) + PretokenCounts({b"low": 1, b"er": 1})
    >>> a.by_pretoken[b"low"], a.num_pretokens
    (3, 4)
    """

    def __init__(
        self, by_pretoken: Mapping[bytes, int] | None = None, settings: CountSettings | None = None
    ) -> None:
        by_pretoken = {} if by_pretoken is None else by_pretoken
        require(by_pretoken, Mapping, name="by_pretoken", needed="a dict from bytes to counts")
        require_all(by_pretoken, bytes, name="a pretoken", needed="bytes, as by text.encode()")
        require_all(by_pretoken.values(), int, name="a count", needed="a whole number")
        for pretoken, count in by_pretoken.items():
            if not pretoken or count < 1:
                raise ValueError(
                    f"pretoken {excerpt(pretoken)} occurs {count} times; pass non-empty bytes "
                    "that occur"
                )
            if count > MAX_COUNT:
                raise ValueError(
                    f"pretoken {excerpt(pretoken)} occurs {count} times; counts end at 2**63 - 1"
                )
        size = len(by_pretoken)
        self.packed = Packed(
            np.frombuffer(b"".join(by_pretoken), np.uint8),
            np.fromiter(map(len, by_pretoken), np.int64, size),
            np.fromiter(by_pretoken.values(), np.int64, size),
        )
        self.settings = settings
        self.dropped = Dropped()

    @classmethod
    def from_packed(
        cls,
        packed: Packed,
        settings: CountSettings | None = None,
        *,
        dropped: Dropped = Dropped(),  # noqa: B008 - immutable
    ) -> "PretokenCounts":
        """Wrap arrays that are known to be as `Packed` says."""
        counts = cls(settings=settings)
        counts.packed, counts.dropped = Packed(*packed), Dropped(*dropped)
        return counts

    @classmethod
    def merge(cls, parts: Iterable["PretokenCounts"]) -> "PretokenCounts":
        """Add up the counts of several corpora; their order does not matter.

        Raises:
            ValueError: the corpora were cut differently, or a sum exceeds 2^63 - 1.
        """
        require_iterable(parts, name="parts", needed="a list of PretokenCounts")
        parts = list(parts)
        for place, part in enumerate(parts):
            require(part, PretokenCounts, name=f"parts[{place}]", needed="PretokenCounts")
        settings = _common_settings(parts)
        dropped = Dropped(*map(sum, zip(*(part.dropped for part in parts), strict=True)))
        full = [part.packed for part in parts if len(part)]
        packed = full[0] if len(full) == 1 else _add_up(full)
        return cls.from_packed(packed, settings, dropped=dropped)

    @classmethod
    def load(cls, path: str | Path) -> "PretokenCounts":
        """Read what `save` wrote.

        Raises:
            OSError: the file is missing or cannot be read.
            ValueError: it is no such file, is damaged, or has another version.
        """
        from bpe.counts_file import load_counts

        return load_counts(as_path(path, name="path"))

    def save(self, path: str | Path) -> None:
        """Write one file, complete or not at all; equal counts give equal files."""
        from bpe.counts_file import save_counts

        save_counts(self, as_path(path, name="path"))

    def __add__(self, other: "PretokenCounts") -> "PretokenCounts":
        if not isinstance(other, PretokenCounts):
            return NotImplemented
        return PretokenCounts.merge([self, other])

    def __len__(self) -> int:
        return len(self.packed.lengths)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PretokenCounts):
            return NotImplemented
        if (self.settings, self.dropped) != (other.settings, other.dropped):
            return False
        return all(map(np.array_equal, self.canonical, other.canonical))

    __hash__ = None

    def __repr__(self) -> str:
        return (
            f"<PretokenCounts of {plural(len(self), 'kind')}, "
            f"{plural(self.num_pretokens, 'pretoken')}>"
        )

    @cached_property
    def by_pretoken(self) -> dict[bytes, int]:
        """Occurrences by pretoken; not to be changed."""
        return dict(zip(_pretokens(self.packed), self.packed.counts.tolist(), strict=True))

    @cached_property
    def canonical(self) -> Packed:
        """The arrays in the lexicographic order of the pretokens."""
        pretokens = _pretokens(self.packed)
        return _select(self.packed, sorted(range(len(self)), key=pretokens.__getitem__))

    @property
    def num_pretokens(self) -> int:
        """Occurrences of all pretokens together."""
        return _exact_dot(np.ones(len(self), np.int64), self.packed.counts)

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the counted text, special tokens left out."""
        return _exact_dot(self.packed.lengths, self.packed.counts)

    def pruned(self, max_pretokens: int) -> "PretokenCounts":
        """Keep the most frequent kinds; among equals the shorter, then the lesser bytes.

        >>> PretokenCounts({b"low": 2, b"er": 1, b"est": 1}).pruned(2).by_pretoken
        {b'low': 2, b'er': 1}
        """
        require_whole_number(max_pretokens, name="max_pretokens")
        if max_pretokens < 1:
            raise ValueError(f"max_pretokens is {max_pretokens}; keep 1 or more")
        if len(self) <= max_pretokens:
            return self
        packed = _select(self.packed, _most_frequent(self.packed, max_pretokens))
        pruned = PretokenCounts.from_packed(packed, self.settings)
        pruned.dropped = Dropped(
            self.dropped.num_kinds + len(self) - max_pretokens,
            self.dropped.num_pretokens + self.num_pretokens - pruned.num_pretokens,
        )
        return pruned


def _common_settings(parts: list[PretokenCounts]) -> CountSettings | None:
    """Return the settings that all parts share; None if some part does not know its own."""
    known = [part.settings for part in parts if part.settings is not None]
    for settings in known[1:]:
        if settings != known[0]:
            raise ValueError(
                f"counts made with {_difference(known[0], settings)} cannot be added up; count all "
                "texts with the same settings"
            )
    unknown = [part for part in parts if part.settings is None and len(part)]
    return known[0] if known and not unknown else None


def _difference(one: CountSettings, other: CountSettings) -> str:
    """Say in what two settings differ, and in nothing else; known patterns by their names."""
    names = {pattern: name for name, pattern in reversed(PATTERNS.items())}
    different = [
        [
            f"{item.name} {names.get(value, value)!r}"
            for item in fields(settings)
            if (value := getattr(settings, item.name)) != getattr(reference, item.name)
        ]
        for settings, reference in ((one, other), (other, one))
    ]
    return " and with ".join(map(", ".join, different))


def _add_up(parts: list[Packed]) -> Packed:
    num_pretokens = sum(float(part.counts.sum(dtype=np.float64)) for part in parts)
    if num_pretokens < 2.0**62 and sum(len(part.lengths) for part in parts) > _LARGE_KINDS:
        from bpe._kernels.presence import can_compile

        if can_compile() and (packed := _add_up_compiled(parts)) is not None:
            return packed
    total: Counter[bytes] = Counter()
    for part in parts:
        total.update(dict(zip(_pretokens(part), part.counts.tolist(), strict=True)))
    return PretokenCounts(total).packed


def _add_up_compiled(parts: list[Packed]) -> Packed | None:
    from bpe._kernels.compiling import are_ready
    from bpe._kernels.counting import KERNELS, add_up

    return add_up(parts) if are_ready(*KERNELS) else None


def _pretokens(packed: Packed) -> list[bytes]:
    content = packed.content.tobytes()
    ends = np.cumsum(packed.lengths)
    starts = (ends - packed.lengths).tolist()
    return [content[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]


def _select(packed: Packed, kinds: Iterable[int]) -> Packed:
    """Return some of the pretokens, in a given order."""
    kinds = np.asarray(kinds, np.int64)
    lengths = packed.lengths[kinds]
    starts = (np.cumsum(packed.lengths) - packed.lengths)[kinds]
    # For each byte: how far it is from the beginning of its pretoken, plus where that begins.
    new_starts = np.cumsum(lengths) - lengths
    sources = np.arange(int(lengths.sum())) + np.repeat(starts - new_starts, lengths)
    return Packed(packed.content[sources], lengths, packed.counts[kinds])


def _most_frequent(packed: Packed, num_kinds: int) -> np.ndarray:
    """Return the kinds that `pruned` keeps, in the order they have."""
    lengths, counts = packed.lengths, packed.counts
    order = np.lexsort((lengths, -counts))[:num_kinds]
    last = order[-1]
    is_tied = (counts == counts[last]) & (lengths == lengths[last])
    tied = np.flatnonzero(is_tied)
    pretokens = _pretokens(_select(packed, tied))
    by_bytes = sorted(range(len(tied)), key=pretokens.__getitem__)
    ahead = order[~is_tied[order]]
    return np.sort(np.concatenate([ahead, tied[by_bytes[: num_kinds - len(ahead)]]]))


def _exact_dot(one: np.ndarray, other: np.ndarray) -> int:
    """Multiply and add up without overflow."""
    if np.multiply(one, other, dtype=np.float64).sum() < 2.0**62:
        return int((one * other).sum())
    return sum(a * b for a, b in zip(one.tolist(), other.tolist(), strict=True))
