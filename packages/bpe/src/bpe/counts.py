"""Add up pretoken counts, prune them, and keep them in files.

Stage: files -> *pretoken counts* -> merges. The counts of the parts add up to the counts of the
whole, so counting can be spread over files, processes and machines. Not here: counting
(`counting`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path

import numpy as np

from bpe.formats.counts_file import load_counts, save_counts
from bpe.messages.arguments import (
    as_path,
    require,
    require_all,
    require_iterable,
    require_whole_number,
)
from bpe.messages.excerpts import excerpt
from bpe.messages.plural import plural
from bpe.packed_counts import (
    CountSettings,
    Dropped,
    Packed,
    exact_dot,
    most_frequent,
    pretokens_of,
    select,
)
from bpe.patterns import PATTERNS

MAX_COUNT = 2**63 - 1
_LARGE_KINDS = 1 << 18  # more distinct pretokens than this are added up by a kernel, if ready


class PretokenCounts:
    """Occurrences of each pretoken.

    Counts of several corpora add up: `a + b` counts both.

    Args:
        by_pretoken: occurrences by pretoken.
        settings: how the text was split; None if unknown.

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
                    "with counts of 1 or more"
                )
            if count > MAX_COUNT:
                raise ValueError(
                    f"pretoken {excerpt(pretoken)} occurs {count} times; counts end at "
                    "2**63 - 1, so count less text"
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
        """Wrap arrays that already satisfy what `Packed` states."""
        counts = cls(settings=settings)
        counts.packed, counts.dropped = Packed(*packed), Dropped(*dropped)
        return counts

    @classmethod
    def merge(cls, parts: Iterable["PretokenCounts"]) -> "PretokenCounts":
        """Add up the counts of several corpora; their order does not matter.

        Raises:
            ValueError: the corpora were split differently, or a sum exceeds 2^63 - 1.
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
            ValueError: it is not such a file, is damaged, or has another version.
        """
        packed, settings, dropped = load_counts(as_path(path, name="path"))
        return cls.from_packed(packed, settings, dropped=dropped)

    def save(self, path: str | Path) -> None:
        """Write one file, complete or not at all; equal counts give equal files."""
        path = as_path(path, name="path")
        save_counts(path, self.canonical, self.settings, dropped=self.dropped)

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

    def __repr__(self) -> str:
        return (
            f"<PretokenCounts of {plural(len(self), 'kind')}, "
            f"{plural(self.num_pretokens, 'pretoken')}>"
        )

    @cached_property
    def by_pretoken(self) -> dict[bytes, int]:
        """Occurrences by pretoken; do not modify."""
        return dict(zip(pretokens_of(self.packed), self.packed.counts.tolist(), strict=True))

    @cached_property
    def canonical(self) -> Packed:
        """The arrays in the lexicographic order of the pretokens."""
        pretokens = pretokens_of(self.packed)
        return select(self.packed, sorted(range(len(self)), key=pretokens.__getitem__))

    @property
    def num_pretokens(self) -> int:
        """Total number of occurrences."""
        return exact_dot(np.ones(len(self), np.int64), self.packed.counts)

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the counted text, special tokens excluded."""
        return exact_dot(self.packed.lengths, self.packed.counts)

    def pruned(self, max_pretokens: int) -> "PretokenCounts":
        """Keep the most frequent pretokens; ties go to the shorter, then to the smaller bytes.

        >>> PretokenCounts({b"low": 2, b"er": 1, b"est": 1}).pruned(2).by_pretoken
        {b'low': 2, b'er': 1}
        """
        require_whole_number(max_pretokens, name="max_pretokens")
        if max_pretokens < 1:
            raise ValueError(f"max_pretokens is {max_pretokens}; keep 1 or more")
        if len(self) <= max_pretokens:
            return self
        packed = select(self.packed, most_frequent(self.packed, max_pretokens))
        pruned = PretokenCounts.from_packed(packed, self.settings)
        pruned.dropped = Dropped(
            self.dropped.num_kinds + len(self) - max_pretokens,
            self.dropped.num_pretokens + self.num_pretokens - pruned.num_pretokens,
        )
        return pruned


def _common_settings(parts: list[PretokenCounts]) -> CountSettings | None:
    """Return the settings that all parts share; None if any part lacks them."""
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
    """Name only what differs between two settings; known patterns by their names."""
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

        if can_compile():
            from bpe._kernels.compiling import are_ready
            from bpe._kernels.counting.counter import KERNELS, add_up

            if are_ready(*KERNELS):
                return add_up(parts)
    total: Counter[bytes] = Counter()
    for part in parts:
        total.update(dict(zip(pretokens_of(part), part.counts.tolist(), strict=True)))
    return PretokenCounts(total).packed
