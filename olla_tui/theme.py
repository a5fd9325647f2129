"""Themes from TOML files: colour roles as data, checked and turned into Textual's themes.

A file sets `[colors]` (Textual's own roles), `[text]`, `[chat]`, `[meter]` and `[syntax]` (ours; each key
becomes the variable `olla-TABLE-KEY`, in `[text]` `olla-KEY`), and `[variables]` (any of Textual's own).
A value is a colour or a reference such as "$primary" to one of `[colors]`.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.color import Color, ColorParseError
from textual.filter import LineFilter
from textual.theme import Theme

from server.errors import OllaError

SCHEMA = 1
MAX_FILE_BYTES = 64 * 1024

COLORS = (
    "primary",
    "secondary",
    "accent",
    "success",
    "warning",
    "error",
    "foreground",
    "background",
    "surface",
    "panel",
)
"""Keys of `[colors]`, all of them needed."""

OPTIONAL_COLORS = ("boost",)

TABLES: dict[str, dict[str, str]] = {
    "text": {
        "muted": "$foreground",
        "faint": "$panel",
        "key": "$accent",
        "tab": "$primary",
        "tab-text": "$background",
        "cursor": "$panel",
        "cursor-dim": "$surface",
    },
    "chat": {
        "user": "$secondary",
        "assistant": "$primary",
        "system": "$warning",
        "tool": "$accent",
        "thinking": "$foreground",
        "code": "$accent",
        "code-background": "$surface",
        "link": "$primary",
        "cursor": "$accent",
    },
    "meter": {
        "low": "$success",
        "mid": "$warning",
        "high": "$error",
        "weights": "$primary",
        "kv": "$accent",
        "other": "$secondary",
    },
    "syntax": {
        "keyword": "$accent",
        "string": "$success",
        "number": "$warning",
        "comment": "$foreground",
        "name": "$primary",
        "operator": "$foreground",
    },
}
"""Our tables, their keys, and what a theme that leaves a key out gets."""

_TOP_LEVEL = ("schema", "name", "dark", "ansi", "colors", "variables", *TABLES)


class InvalidTheme(OllaError):
    """A theme file that cannot be used; the message names the file and the key."""


@dataclass(frozen=True)
class ThemeFile:
    """A checked theme.

    Attributes:
        colors: every key of `COLORS`, as colours.
        variables: Textual's and our variables, as colours or as Textual wants them.
        warnings: sentences on what was left aside.
    """

    name: str
    dark: bool
    ansi: bool
    colors: Mapping[str, str]
    variables: Mapping[str, str]
    warnings: tuple[str, ...] = field(default=())

    def to_textual(self) -> Theme:
        """The theme as Textual registers it."""
        colors = self.colors
        return Theme(
            name=self.name,
            primary=colors["primary"],
            secondary=colors["secondary"],
            accent=colors["accent"],
            success=colors["success"],
            warning=colors["warning"],
            error=colors["error"],
            foreground=colors["foreground"],
            background=colors["background"],
            surface=colors["surface"],
            panel=colors["panel"],
            boost=colors.get("boost"),
            dark=self.dark,
            ansi=self.ansi,
            variables=dict(self.variables),
        )


def variable_name(table: str, key: str) -> str:
    """Name of the variable that a key of one of our tables sets."""
    return f"olla-{key}" if table == "text" else f"olla-{table}-{key}"


def default_variables() -> dict[str, str]:
    """Our variables for themes that know nothing of them, in terms of Textual's."""
    defaults = {
        variable_name(table, key): value for table, keys in TABLES.items() for key, value in keys.items()
    }
    defaults["olla-muted"] = "$foreground-darken-2"
    defaults["olla-faint"] = "$foreground-darken-3"
    return defaults


def follow(value: str, variables: Mapping[str, str]) -> str:
    """The value that a reference such as "$primary" leads to; any other value as it is."""
    for _ in range(len(variables)):
        name = value.removeprefix("$")
        if name == value or name not in variables:
            break
        value = variables[name]
    return value


def parse_theme(text: str, origin: str) -> ThemeFile:
    """A theme from the text of its file.

    Args:
        origin: name of the file, for messages.

    Raises: InvalidTheme.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidTheme(f"{origin} is no valid TOML: {error}") from None
    warnings = _unknown(data, _TOP_LEVEL, origin, "")
    if data.get("schema") != SCHEMA:
        raise InvalidTheme(f"{origin}: schema must be {SCHEMA}", hint="It may be for a newer olla.")
    name = data.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidTheme(f"{origin}: name is missing", hint='Write name = "my-theme".')
    ansi = _flag(data, "ansi", False, origin)
    written = _table(data, "colors", origin)
    warnings += _unknown(written, (*COLORS, *OPTIONAL_COLORS), origin, "colors.")
    for key in COLORS:
        if key not in written:
            raise InvalidTheme(f"{origin}: colors.{key} is missing")
    known = {key: value for key, value in written.items() if key in (*COLORS, *OPTIONAL_COLORS)}
    colors = {key: _color(value, {}, f"{origin}: colors.{key}") for key, value in known.items()}
    variables: dict[str, str] = {}
    for table, defaults in TABLES.items():
        values = _table(data, table, origin)
        warnings += _unknown(values, defaults, origin, f"{table}.")
        for key, default in defaults.items():
            place = f"{origin}: {table}.{key}"
            variables[variable_name(table, key)] = _color(values.get(key, default), colors, place)
    for key, value in _table(data, "variables", origin).items():
        variables[key] = _variable(value, colors, f"{origin}: variables.{key}")
    dark = _flag(data, "dark", True, origin)
    return ThemeFile(name, dark, ansi, colors, variables, tuple(warnings))


def builtin_themes() -> list[ThemeFile]:
    """The themes that ship with olla, by name."""
    files = [entry for entry in resources.files("themes").iterdir() if entry.name.endswith(".toml")]
    parsed = [parse_theme(entry.read_text(encoding="utf-8"), entry.name) for entry in files]
    return sorted(parsed, key=lambda theme: theme.name)


def user_themes(directory: Path) -> tuple[list[ThemeFile], list[InvalidTheme]]:
    """The themes in a directory, and what is wrong with those that cannot be used."""
    loaded: list[ThemeFile] = []
    failed: list[InvalidTheme] = []
    if not directory.is_dir():
        return loaded, failed
    for path in sorted(directory.glob("*.toml")):
        try:
            loaded.append(load_theme(path))
        except InvalidTheme as error:
            failed.append(error)
    return loaded, failed


def load_theme(path: Path) -> ThemeFile:
    """The theme in a file. Raises: InvalidTheme."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidTheme(f"{path} is larger than a theme can be ({MAX_FILE_BYTES // 1024} kB)")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidTheme(f"{path} cannot be read: {error}") from None
    return parse_theme(text, str(path))


class WithoutColor(LineFilter):
    """Takes every colour away for NO_COLOR; a background that stood out becomes reverse video."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments in the terminal's own two colours."""
        return [Segment(text, style and without_color(style), control) for text, style, control in segments]


@lru_cache(1024)
def without_color(style: Style) -> Style:
    """The style in the terminal's own two colours; bold and the like stay."""
    stands_out = style.bgcolor is not None and not style.bgcolor.is_default
    return style + Style(color="default", bgcolor="default", reverse=bool(style.reverse) != stands_out)


def contrast_ratio(first: str, second: str) -> float:
    """Contrast of two colours by WCAG 2.2, 1 to 21."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(text: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = []
    for value in Color.parse(text).rgb:
        share = value / 255
        channels.append(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def _table(data: Mapping[str, Any], name: str, origin: str) -> dict[str, Any]:
    value = data.get(name, {})
    if not isinstance(value, dict):
        raise InvalidTheme(f"{origin}: [{name}] must be a table")
    return value


def _flag(data: Mapping[str, Any], name: str, default: bool, origin: str) -> bool:
    value = data.get(name, default)
    if not isinstance(value, bool):
        raise InvalidTheme(f"{origin}: {name} must be true or false")
    return value


def _color(value: object, colors: Mapping[str, str], place: str) -> str:
    if not isinstance(value, str):
        raise InvalidTheme(f"{place} must be a colour in quotes")
    if value.startswith("$"):
        if value[1:] not in colors:
            raise InvalidTheme(f'{place} refers to "{value}", which is no colour{_near(value[1:], colors)}')
        return colors[value[1:]]
    try:
        Color.parse(value)
    except ColorParseError:
        raise InvalidTheme(f'{place} is no colour: "{value}"') from None
    return value


def _variable(value: object, colors: Mapping[str, str], place: str) -> str:
    """A variable of Textual's: colour references are filled in, everything else stays as it is written."""
    if not isinstance(value, str):
        raise InvalidTheme(f"{place} must be a text in quotes")
    reference, separator, rest = value.partition(" ")
    return _color(reference, colors, place) + separator + rest if reference.startswith("$") else value


def _unknown(found: Mapping[str, object], known: Iterable[str], origin: str, prefix: str) -> list[str]:
    listed = list(known)
    return [f"{origin}: {prefix}{key} is not known{_near(key, listed)}" for key in found if key not in listed]


def _near(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""
