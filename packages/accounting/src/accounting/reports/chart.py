"""Draw stacked bars as SVG, with nothing but strings.

Stage: accounts -> *picture*. Colours are distinct on light and dark backgrounds, and for most
colour-blind readers; a tooltip shows each part's name and value.
"""

from collections.abc import Mapping, Sequence
from html import escape

_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")
_WIDTH, _LEFT, _RIGHT, _TOP, _BAR, _GAP, _LEGEND = 860, 210, 120, 46, 26, 12, 22


def stacked_bars(
    title: str, bars: Mapping[str, Mapping[str, float]], *, unit: str, share: bool = False
) -> str:
    """Return an SVG of one horizontal bar per name, divided into parts.

    `bars` maps names to the values of parts. With `share`, every bar has the full width.
    """
    parts = list(dict.fromkeys(part for bar in bars.values() for part in bar))
    rows_of_legend = -(-len(parts) // 4)
    height = _TOP + len(bars) * (_BAR + _GAP) + rows_of_legend * _LEGEND + 16
    longest = max((sum(bar.values()) for bar in bars.values()), default=1.0) or 1.0
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13" role="img" aria-label="{escape(title)}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="16" fill="#222222">{escape(title)}</text>',
    ]
    for index, (name, bar) in enumerate(bars.items()):
        scale = sum(bar.values()) or 1.0 if share else longest
        lines += _bar(name, bar, parts, y=_TOP + index * (_BAR + _GAP), scale=scale, unit=unit)
    lines += _legend(parts, y=_TOP + len(bars) * (_BAR + _GAP) + 14)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bar(
    name: str, bar: Mapping[str, float], parts: Sequence[str], *, y: int, scale: float, unit: str
) -> list[str]:
    total, x, room = sum(bar.values()), float(_LEFT), _WIDTH - _LEFT - _RIGHT
    middle = y + _BAR / 2 + 5
    lines = [f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>']
    for part, value in bar.items():
        width = room * value / scale
        hint = f"{name}: {part} {value:.3g} {unit}, {value / (total or 1):.1%}"
        lines.append(
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" '
            f'fill="{_COLOURS[parts.index(part) % len(_COLOURS)]}">'
            f"<title>{escape(hint)}</title></rect>"
        )
        x += width
    lines.append(f'<text x="{x + 8:.1f}" y="{middle}">{total:.3g} {escape(unit)}</text>')
    return lines


def _legend(parts: Sequence[str], *, y: int) -> list[str]:
    lines = []
    for index, part in enumerate(parts):
        x, row = 16 + (index % 4) * 210, y + index // 4 * _LEGEND
        colour = _COLOURS[index % len(_COLOURS)]
        lines.append(f'<rect x="{x}" y="{row - 11}" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{x + 18}" y="{row}">{escape(part)}</text>')
    return lines
