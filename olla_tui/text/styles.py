"""The styles that Markdown is drawn with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from rich.style import Style

from olla_tui.text.lexers import Lexers

TokenRole = Literal["plain", "keyword", "string", "number", "comment", "name", "operator"]
"""What a token of source code is, as far as colours go."""

_NONE = Style.null()
_BOLD = Style(bold=True)
_ITALIC = Style(italic=True)
_STRUCK = Style(strike=True)
_UNDERLINED = Style(underline=True)
_DIM = Style(dim=True)
_LEXERS = Lexers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The characters that are not letters; each is one cell wide."""

    horizontal: str = "─"
    vertical: str = "│"
    cross: str = "┼"
    top_left: str = "┌"
    top_right: str = "┐"
    bottom_left: str = "└"
    bottom_right: str = "┘"
    bullets: str = "•◦▪"
    quote: str = "▎"
    cursor: str = "▌"
    folded: str = "▸"
    unfolded: str = "▾"
    more_below: str = "▼"
    failed: str = "✗"
    call: str = "→"
    ellipsis: str = "…"
    separator: str = "·"


UNICODE_GLYPHS = Glyphs()

ASCII_GLYPHS = Glyphs(
    horizontal="-",
    vertical="|",
    cross="+",
    top_left="+",
    top_right="+",
    bottom_left="+",
    bottom_right="+",
    bullets="*-+",
    quote="|",
    cursor="|",
    folded=">",
    unfolded="v",
    more_below="v",
    failed="x",
    call=">",
    ellipsis="~",
    separator="-",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextStyles:
    """One style per part of a text, each whole in itself (with its background), never added to another.

    Only `strong`, `emphasis` and `strike` are added to the style around them, for these nest.

    Attributes:
        muted: borders, bullets, rules and the like.
        tokens: of code in a fence; roles that are missing are drawn in `fence`.
        lexers: tell the tokens of code.
    """

    text: Style = _NONE
    heading: Style = _BOLD
    strong: Style = _BOLD
    emphasis: Style = _ITALIC
    strike: Style = _STRUCK
    code: Style = _NONE
    link: Style = _UNDERLINED
    quote: Style = _NONE
    muted: Style = _DIM
    fence: Style = _NONE
    fence_title: Style = _DIM
    tokens: Mapping[TokenRole, Style] = field(default_factory=dict)
    glyphs: Glyphs = UNICODE_GLYPHS
    lexers: Lexers = _LEXERS

    def token(self, role: TokenRole) -> Style:
        """Style of a token of code."""
        return self.tokens.get(role, self.fence)

    def on(self, text: Style) -> TextStyles:
        """These styles with another one for plain text."""
        return replace(self, text=text, quote=text)
