"""Lay out figures as aligned text for people, or as JSON for programs.

Stage: accounts -> *sections of rows* -> text or JSON. A row has a value, its text, and the formula
and term behind it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from accounting.plural import plural

_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    name: str
    value: float | str | None
    """None: unknown."""
    shown: str
    why: str = ""
    """Formula and term; shown by --explain."""


@dataclass(frozen=True, slots=True)
class Section:
    """Figures that belong together."""

    title: str
    rows: Sequence[Row]
    note: str = ""


def count(name: str, value: int, why: str = "") -> Row:
    """Return a row of a whole number."""
    return figure(name, value, ",", why)


def figure(name: str, value: float, form: str, why: str = "") -> Row:
    """Return a row of a number in a given format."""
    return Row(name, value, format(value, form), why)


def size(name: str, num_bytes: int, why: str = "") -> Row:
    """Return a row of bytes."""
    return Row(name, num_bytes, f"{plural(num_bytes, 'byte')} = {in_units(num_bytes)}", why)


def in_units(num_bytes: float) -> str:
    """Format bytes in decimal units.

    >>> in_units(8_508_230_400)
    '8.51 GB'
    """
    for scale, unit in _UNITS:
        if num_bytes >= scale:
            return f"{num_bytes / scale:.2f} {unit}"
    return f"{num_bytes:.0f} bytes"


def render_sections(sections: Sequence[Section], *, explain: bool) -> str:
    """Return sections as text, each under its title."""
    blocks = []
    for section in sections:
        lines = [section.title]
        cells = [
            (row.name, row.shown, *([row.why] if explain and row.why else []))
            for row in section.rows
        ]
        lines += [f"  {line}" for line in align(cells)]
        lines += [f"  {line}" for line in section.note.splitlines()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def sections_json(sections: Sequence[Section], *, explain: bool) -> dict[str, object]:
    """Return sections as a JSON object of objects."""
    if explain:
        return {
            section.title: {row.name: {"value": row.value, "why": row.why} for row in section.rows}
            for section in sections
        }
    return {section.title: {row.name: row.value for row in section.rows} for section in sections}


def align(rows: Sequence[Sequence[str]], *, left: Collection[int] = (0, 2)) -> list[str]:
    """Align columns: those of the numbers `left` to the left, the others to the right."""
    width = max((len(row) for row in rows), default=0)
    full = [[*row, *[""] * (width - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    return [
        "  ".join(
            cell.ljust(wide) if index in left else cell.rjust(wide)
            for index, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in full
    ]
