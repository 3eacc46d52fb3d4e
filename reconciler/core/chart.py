"""A chart of what a job has moved, as SVG 1.1: one panel for each measure that is not zero, bars over time, nothing that
a browser would have to fetch or run. It brings its own paper, light or dark as the reader prefers; each bar says its sum
when pointed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from reconciler.clock import iso
from reconciler.core.metrics import MEASURES, Grain, Point, totals

WIDTH: Final = 960
#: Of one panel: the title above its bars, the bars, and the space below.
_TITLE: Final = 28
_BARS: Final = 120
_GAP: Final = 18
_HEAD: Final = 44
_FOOT: Final = 30
_LEFT: Final = 96
_RIGHT: Final = 16

_STYLE: Final = (
    "svg{background:#ffffff}"
    "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:17px;font-weight:600}.small{font-size:11px;fill:#57606a}"
    ".line{stroke:#d0d7de;stroke-width:1}.rows{fill:#0969da}.added{fill:#1a7f37}.removed{fill:#cf222e}.omitted{fill:#9a6700}"
    "@media (prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.small{fill:#8d96a0}.line{stroke:#30363d}}"
)


def svg(title: str, grain: Grain, points: Sequence[Point]) -> str:
    """The chart of a series without gaps (`metrics.filled`), oldest first. An XML document of its own."""
    sums = totals(points)
    shown = [measure for measure in MEASURES if sums[measure]] or list(MEASURES[:1])
    height = _HEAD + len(shown) * (_TITLE + _BARS + _GAP) + _FOOT
    label = f"{title}: what was moved by {grain}"
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{_text(label)}">',
        f"<title>{_text(label)}</title>",
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="{_LEFT}" y="26">{_text(title)}</text>',
    ]
    top = _HEAD
    for measure in shown:
        body += _panel(measure, grain, points, sums[measure], top)
        top += _TITLE + _BARS + _GAP
    body += _times(grain, points, top)
    return "\n".join([*body, "</svg>"])


def _panel(measure: str, grain: Grain, points: Sequence[Point], total: int, top: int) -> list[str]:
    highest = max((point.of(measure) for point in points), default=0)
    ceiling, floor = top + _TITLE, top + _TITLE + _BARS
    scale = _BARS / highest if highest else 0.0
    said = f"{measure}: {total:,} in all, at most {highest:,} in one {grain}"
    lines = [f'<text x="{_LEFT}" y="{top + 16}">{_text(said)}</text>', *_axis(highest, ceiling, floor)]
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(points))
    for index, point in enumerate(points):
        value = point.of(measure)
        if value > 0:
            high = max(1.0, value * scale)
            lines.append(
                f'<rect class="{measure}" x="{_LEFT + index * step:.2f}" y="{floor - high:.2f}" '
                f'width="{max(0.5, step * 0.85):.2f}" height="{high:.2f}">'
                f"<title>{moment(point.start_ms, grain)}: {value:,} {measure}</title></rect>"
            )
    return lines


def _axis(highest: int, ceiling: int, floor: int) -> list[str]:
    marks = [(floor, 0), (ceiling, highest)] if highest else [(floor, 0)]
    lines = []
    for y, value in marks:
        lines.append(f'<line class="line" x1="{_LEFT}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}"/>')
        lines.append(f'<text class="small" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{value:,}</text>')
    return lines


def _times(grain: Grain, points: Sequence[Point], top: int) -> list[str]:
    if not points:
        return []
    right = WIDTH - _RIGHT
    places = [(_LEFT, "start", points[0]), ((_LEFT + right) // 2, "middle", points[len(points) // 2])]
    places = [*places, (right, "end", points[-1])] if len(points) > 2 else places[:1]
    return [
        f'<text class="small" x="{x}" y="{top + 8}" text-anchor="{anchor}">{moment(point.start_ms, grain)}</text>'
        for x, anchor, point in places
    ]


def moment(at_ms: int, grain: Grain) -> str:
    """When a minute, hour or day begins: `2026-11-20` or `2026-11-20 09:30Z`."""
    text = iso(at_ms)
    return text[:10] if grain is Grain.DAY else f"{text[:10]} {text[11:16]}Z"


def _text(value: str) -> str:
    """Text of a document: what XML has no place for, not even as an escape, becomes U+FFFD."""
    return escape("".join(char if _is_char(ord(char)) else "\ufffd" for char in value))


def _is_char(code: int) -> bool:
    """https://www.w3.org/TR/xml/#charsets, without the control characters that it discourages."""
    return 0x20 <= code < 0x7F or 0xA0 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF
