"""Bars and braille graphs as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from olla_tui.state.rows import Row, Span

_LEFT_DOTS = (0x00, 0x40, 0x44, 0x46, 0x47)
"""Braille bits of the left column filled from the bottom with 0 to 4 dots (Unicode block U+2800)."""
_RIGHT_DOTS = (0x00, 0x80, 0xA0, 0xB0, 0xB8)


@dataclass(frozen=True)
class Glyphs:
    """Characters of bars and marks; the ASCII set serves terminals without UTF-8.

    Attributes:
        warn_at, high_at: shares from which on a meter has another colour.
    """

    full: str = "█"
    empty: str = "░"
    weights: str = "█"
    kv: str = "▓"
    other: str = "▒"
    ok: str = "✓"
    failed: str = "✗"
    busy: str = "●"
    waiting: str = "◌"
    half: str = "◐"
    prompt: str = "❯"
    cursor: str = "▸"
    bar: str = "│"
    rule: str = "─"
    down: str = "▾"
    braille: bool = True
    warn_at: float = 0.75
    high_at: float = 0.90


UNICODE = Glyphs()
ASCII = Glyphs(
    full="#",
    empty=".",
    weights="#",
    kv="=",
    other="-",
    ok="+",
    failed="x",
    busy="*",
    waiting="o",
    half="@",
    prompt=">",
    cursor=">",
    bar="|",
    rule="-",
    down="v",
    braille=False,
)


def level_role(fraction: float, glyphs: Glyphs = UNICODE) -> str:
    """Role of a meter at this level: "meter.low", "meter.mid" or "meter.high"."""
    if fraction >= glyphs.high_at:
        return "meter.high"
    return "meter.mid" if fraction >= glyphs.warn_at else "meter.low"


def bar(fraction: float, width: int, glyphs: Glyphs = UNICODE) -> Row:
    """A bar of `width` cells in the colour of its level; anything above nothing shows one cell."""
    fraction = min(1.0, max(0.0, fraction))
    n_full = min(width, max(round(fraction * width), 1 if fraction > 0.005 else 0))
    full = Span(glyphs.full * n_full, level_role(fraction, glyphs))
    return tuple(span for span in (full, Span(glyphs.empty * (width - n_full), "faint")) if span.text)


def stacked_bar(parts: Sequence[tuple[float, str, str]], width: int, glyphs: Glyphs = UNICODE) -> Row:
    """Shares side by side.

    Args:
        parts: (fraction of the whole, glyph, role); what is left of the whole is drawn as free.
    """
    spans: list[Span] = []
    used = 0
    position = 0.0
    for fraction, glyph, role in parts:
        position += min(1.0, max(0.0, fraction))
        end = min(width, round(position * width))
        if end > used:
            spans.append(Span(glyph * (end - used), role))
            used = end
    if used < width:
        spans.append(Span(glyphs.empty * (width - used), "faint"))
    return tuple(spans)


def braille_graph(values: Sequence[float], width: int, height: int, *, braille: bool = True) -> list[str]:
    """A filled graph of fractions, newest at the right; `height` texts of `width` characters, top first.

    Every cell holds two samples and four levels. Missing samples at the left stay blank.
    """
    n_samples = 2 * width
    recent = list(values[-n_samples:]) if n_samples else []
    padded = [0.0] * (n_samples - len(recent)) + [min(1.0, max(0.0, value)) for value in recent]
    n_levels = 4 * height
    levels = [max(round(value * n_levels), 1 if value > 0 else 0) for value in padded]
    lines: list[str] = []
    for line in range(height):
        base = (height - 1 - line) * 4
        cells = []
        for column in range(width):
            left = min(4, max(0, levels[2 * column] - base))
            right = min(4, max(0, levels[2 * column + 1] - base))
            if braille:
                cells.append(chr(0x2800 + _LEFT_DOTS[left] + _RIGHT_DOTS[right]) if left or right else " ")
            else:
                cells.append(" .:|#"[max(left, right)])
        lines.append("".join(cells))
    return lines
