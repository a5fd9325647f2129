"""`olla theme`: check a theme's file, begin a new one, list what there is."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from olla_tui.contrast import DEPTHS, Contrast
from olla_tui.settings import TuiSettings, color_depth
from olla_tui.theme import ThemeFile
from olla_tui.theme_files import (
    BUILTIN,
    builtin_theme,
    check,
    in_depth,
    load_theme,
    new_theme,
    user_themes,
)
from server.errors import InvalidRequest
from server.settings import Settings

_SWATCHES = ("primary", "secondary", "accent", "success", "warning", "error", "foreground", "panel")
_RESET = "\x1b[0m"


def check_theme(name: str) -> bool:
    """Print a theme's contrasts, the lowest of each depth first to be seen; False when one is too low.

    Args:
        name: a file, or the name of a theme that ships.
    Raises: InvalidTheme.
    """
    theme = builtin_theme(name) if name in BUILTIN else load_theme(Path(name))
    for warning in theme.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    terminal = Settings.load().terminal
    if sys.stdout.isatty() and not terminal.get("NO_COLOR") and terminal.get("TERM") != "dumb":
        print(swatch(theme, terminal))
    found = check(theme)
    print("\n".join(report(found)))
    return all(entry.is_enough for entry in found)


def report(found: list[Contrast]) -> list[str]:
    """Lines that say what is too low, and the lowest of each depth. Pure."""
    lines = []
    for depth in DEPTHS:
        of_depth = [entry for entry in found if entry.depth == depth]
        low = [entry for entry in of_depth if not entry.is_enough]
        nearest = min(of_depth, key=lambda entry: entry.ratio / entry.needed)
        verdict = f"{len(low)} of {len(of_depth)} too low" if low else f"all {len(of_depth)} can be read"
        lines.append(f"{depth:<9}  {verdict}; the nearest to its limit is {_words(nearest)}")
        lines += [f"{'':<11}{_words(entry)}" for entry in low]
    return lines


def _words(entry: Contrast) -> str:
    return f"{entry.name} on {entry.background}: {entry.ratio:.1f}:1, needed {entry.needed:g}:1"


def swatch(theme: ThemeFile, terminal: Mapping[str, str]) -> str:
    """The theme's colours as the terminal shows them, on its background. Pure."""
    from rich.color import Color as RichColor
    from rich.color import ColorSystem
    from rich.style import Style
    from textual.color import Color

    depth = color_depth(terminal)
    system = {"16": ColorSystem.STANDARD, "256": ColorSystem.EIGHT_BIT, "truecolor": ColorSystem.TRUECOLOR}
    shown = in_depth(theme, depth).values

    def rich_color(name: str) -> RichColor:
        return Color.parse(shown[name]).rich_color

    ground = rich_color("background")
    parts = [
        Style.from_color(rich_color(name), ground).render(f" {name} ", color_system=system[depth])
        for name in _SWATCHES
    ]
    return "".join(parts) + _RESET


def make_theme(name: str) -> None:
    """Write a new theme into the user's folder and say where. Raises: InvalidRequest, OllaError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise InvalidRequest(f"{name!r} is no name for a theme; use small letters, digits and dashes")
    if name in BUILTIN:
        raise InvalidRequest(f"{name!r} is the name of a theme that ships with olla")
    path = new_theme(_folder(), name)
    print(f"{path}\nEdit it; the workstation shows changes at once. OLLA_THEME={name} begins with it.")


def list_themes() -> None:
    """Print the themes that ship and the user's own."""
    loaded, failed = user_themes(_folder())
    for name in BUILTIN:
        print(name)
    for theme in loaded:
        print(f"{theme.name}  (yours)")
    for error in failed:
        print(f"Warning: {error.message}", file=sys.stderr)


def _folder() -> Path:
    folder = TuiSettings.from_settings(Settings.load()).themes_dir
    assert folder is not None
    return folder
