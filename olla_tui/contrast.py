"""How well a theme can be read: contrast of its texts and meters in true colour, 256 and 16 colours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.color import Color as RichColor
from rich.color import ColorSystem
from textual.color import Color

from olla_tui.settings import Depth

DEPTHS: tuple[Depth, ...] = ("truecolor", "256", "16")

MIN_TEXT = 4.5
"""Contrast that text needs at least (WCAG 2.2, 1.4.3, level AA)."""
MIN_METER = 3.0
"""Contrast that what is no text needs at least (WCAG 2.2, 1.4.11)."""

ANSI_COLORS: tuple[tuple[int, int, int], ...] = (
    (0x00, 0x00, 0x00),
    (0xCD, 0x00, 0x00),
    (0x00, 0xCD, 0x00),
    (0xCD, 0xCD, 0x00),
    (0x00, 0x00, 0xEE),
    (0xCD, 0x00, 0xCD),
    (0x00, 0xCD, 0xCD),
    (0xE5, 0xE5, 0xE5),
    (0x7F, 0x7F, 0x7F),
    (0xFF, 0x00, 0x00),
    (0x00, 0xFF, 0x00),
    (0xFF, 0xFF, 0x00),
    (0x5C, 0x5C, 0xFF),
    (0xFF, 0x00, 0xFF),
    (0x00, 0xFF, 0xFF),
    (0xFF, 0xFF, 0xFF),
)
"""What xterm shows for the sixteen colours (XTerm-col.ad); every terminal may show others."""

NO_TEXT = frozenset(
    ("olla-faint", "olla-tab-text", "olla-cursor", "olla-cursor-dim", "olla-chat-code-background")
)
"""Variables of ours that are lines and backgrounds, or text on a background of its own."""
TEXT_COLORS = ("primary", "secondary", "accent", "success", "warning", "error", "foreground")
OWN_BACKGROUNDS = (
    ("foreground", "panel"),
    ("olla-muted", "panel"),
    ("foreground", "olla-cursor"),
    ("olla-muted", "olla-cursor"),
    ("olla-tab-text", "olla-tab"),
)
"""Texts that stand on other backgrounds than the screen's own."""


@dataclass(frozen=True)
class Contrast:
    """One text or meter on one background.

    Attributes:
        ratio: by WCAG 2.2, 1 to 21.
        needed: the least that it should be.
    """

    depth: Depth
    name: str
    background: str
    ratio: float
    needed: float

    @property
    def is_enough(self) -> bool:
        """Whether it can be read."""
        return self.ratio >= self.needed


def contrasts(values: Mapping[str, str], *, dark: bool, depth: Depth) -> Iterator[Contrast]:
    """Every text and meter of a theme on the backgrounds that it is shown on.

    Args:
        values: the theme's colours and variables, as colours.
        dark: what the terminal's own background is taken to be.
    """
    ours = (key for key in values if key.startswith("olla-") and key not in NO_TEXT)
    pairs = [(name, background) for name in (*TEXT_COLORS, *ours) for background in ("background", "surface")]
    for name, background in (*pairs, *OWN_BACKGROUNDS):
        needed = MIN_METER if name.startswith("olla-meter-") else MIN_TEXT
        front = shown_rgb(values[name], depth, dark=dark)
        back = shown_rgb(values[background], depth, dark=dark, is_background=True)
        yield Contrast(depth, name, background, _ratio(front, back), needed)


def shown_rgb(text: str, depth: Depth, *, dark: bool, is_background: bool = False) -> tuple[int, int, int]:
    """What a terminal with so many colours shows for a colour; its default colours are white and black."""
    color = Color.parse(text)
    if color.ansi is not None and color.ansi < 0:
        return ANSI_COLORS[0] if is_background == dark else ANSI_COLORS[7 if dark else 15]
    if color.ansi is not None:
        return ANSI_COLORS[color.ansi]
    if depth == "truecolor":
        return color.rgb
    if depth == "256":
        downgraded = RichColor.from_rgb(*color.rgb).downgrade(ColorSystem.EIGHT_BIT).get_truecolor()
        return downgraded.red, downgraded.green, downgraded.blue
    number = RichColor.from_rgb(*color.rgb).downgrade(ColorSystem.STANDARD).number
    return ANSI_COLORS[number or 0]


def contrast_ratio(first: str, second: str) -> float:
    """Contrast of two colours by WCAG 2.2, 1 to 21."""
    return _ratio(Color.parse(first).rgb, Color.parse(second).rgb)


def _ratio(first: tuple[int, int, int], second: tuple[int, int, int]) -> float:
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(rgb: tuple[int, int, int]) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = []
    for value in rgb:
        share = value / 255
        channels.append(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
