"""Roles of spans as Rich styles, from the variables of the theme in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rich.style import Style
from textual.color import Color, ColorParseError


class Look(NamedTuple):
    """How a role looks: theme variables for its colours ("" for the widget's own), and whether it is bold."""

    foreground: str = ""
    background: str = ""
    bold: bool = False


ROLES: dict[str, Look] = {
    "": Look(),
    "strong": Look(bold=True),
    "title": Look("primary", bold=True),
    "muted": Look("olla-muted"),
    "faint": Look("olla-faint"),
    "accent": Look("accent"),
    "good": Look("success"),
    "warn": Look("warning"),
    "bad": Look("error"),
    "key": Look("olla-key", bold=True),
    "tab": Look("olla-muted"),
    "tab.active": Look("olla-tab-text", "olla-tab", bold=True),
    "chip": Look("foreground", "panel"),
    "chip.key": Look("olla-key", "panel", bold=True),
    "meter.low": Look("olla-meter-low"),
    "meter.mid": Look("olla-meter-mid"),
    "meter.high": Look("olla-meter-high"),
    "vram.weights": Look("olla-meter-weights"),
    "vram.kv": Look("olla-meter-kv"),
    "vram.other": Look("olla-meter-other"),
    "column": Look("olla-muted", bold=True),
}
"""Every role that a span may have."""

CURSOR = Look(background="olla-cursor")
CURSOR_UNFOCUSED = Look(background="olla-cursor-dim")


class RoleStyles:
    """Styles of all roles under one set of theme variables."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._styles = {role: self._style(look) for role, look in ROLES.items()}
        self.cursor = self._style(CURSOR)
        if self.cursor.bgcolor is None or self.cursor.bgcolor.is_default:
            # A theme that leaves the background to the terminal has no colour for the line under the cursor.
            self.cursor = Style(color="default", bgcolor="default", reverse=True)
        self.cursor_unfocused = self._style(CURSOR_UNFOCUSED)

    def __getitem__(self, role: str) -> Style:
        return self._styles[role]

    def _style(self, look: Look) -> Style:
        return Style(
            color=self._color(look.foreground),
            bgcolor=self._color(look.background),
            bold=True if look.bold else None,
        )

    def _color(self, variable: str) -> str | None:
        if not variable:
            return None
        text = self._variables.get(variable, "")
        while text.startswith("$"):
            text = self._variables.get(text[1:], "")
        try:
            color = Color.parse(text)
        except ColorParseError:
            return None
        return None if color.a == 0 else color.rich_color.name
