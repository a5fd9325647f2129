"""Themes from TOML files: colour roles as data, checked and turned into Textual's themes.

A file sets `[colors]` (Textual's own roles), `[text]`, `[chat]`, `[meter]` and `[syntax]` (ours; each key
becomes the variable `olla-TABLE-KEY`, in `[text]` `olla-KEY`), and `[variables]` (any of Textual's own).
A value is a colour or a reference such as "$primary" to one of `[colors]`. With `extends = "NAME"` it needs
to say only what differs from a theme that ships. `[glyphs]` and two keys of `[meter]` are no colours:
`theme_marks` reads them. `[sixteen.TABLE]` says what differs from `ansi-dark` or `ansi-light`, which stand in
for a theme where the terminal has but sixteen colours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tomli
from textual.color import Color, ColorParseError
from textual.theme import Theme

from olla_tui.theme_marks import DRAWN, LEVELS, BadMark, Marks, read_glyphs, read_levels
from server.errors import OllaError

SCHEMA = 1

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

TABLE_NAMES = ("colors", "variables", *TABLES)
_TOP_LEVEL = ("schema", "name", "extends", "dark", "ansi", "mono", "sixteen", "glyphs", *TABLE_NAMES)


class InvalidTheme(OllaError):
    """A theme file that cannot be used; the message names the file, the line and the key."""


@dataclass(frozen=True)
class ThemeFile:
    """A checked theme.

    Attributes:
        ansi: its colours are the terminal's own sixteen.
        mono: it is shown without any colour, by bold and reverse video alone.
        colors: every key of `COLORS`, as colours.
        variables: Textual's and our variables, as colours or as Textual wants them.
        marks: levels of meters, and characters.
        sixteen: tables of what differs from the theme that stands in where there are sixteen colours.
        warnings: sentences on what was left aside.
    """

    name: str
    dark: bool
    ansi: bool
    colors: Mapping[str, str]
    variables: Mapping[str, str]
    mono: bool = False
    marks: Marks = field(default_factory=Marks)
    sixteen: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = field(default=())

    @property
    def values(self) -> dict[str, str]:
        """Colours and variables by their names."""
        return {**self.colors, **self.variables}

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


def parse_theme(text: str, origin: str, bases: Mapping[str, str] | None = None) -> ThemeFile:
    """A theme from the text of its file.

    Args:
        origin: name of the file, for messages.
        bases: texts of the files that it may extend, by the names of their themes.
    Raises: InvalidTheme.
    """
    source = _Source(text, origin)
    data = source.data
    warnings = _unknown(data, _TOP_LEVEL, source, "")
    if data.get("schema") != SCHEMA:
        hint = "It may be for a newer olla."
        raise InvalidTheme(f"{source.at('schema')}schema must be {SCHEMA}", hint=hint)
    name = data.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidTheme(f"{source.at('name')}name is missing", hint='Write name = "my-theme".')
    whole = extended(source, bases or {})
    sixteen = data.get("sixteen", {})
    if not isinstance(sixteen, dict):
        raise InvalidTheme(f"{source.at('sixteen')}[sixteen] must be a table")
    warnings += _unknown(sixteen, TABLE_NAMES, source, "sixteen.")
    colors, variables, more = read_tables(whole, source)
    warnings += _unknown(_table(whole, "glyphs", source), ("set", *DRAWN), source, "glyphs.")
    return ThemeFile(
        name=name,
        dark=_flag(whole, "dark", True, source),
        ansi=_flag(whole, "ansi", False, source),
        mono=_flag(whole, "mono", False, source),
        marks=_marks(whole, source),
        colors=colors,
        variables=variables,
        sixteen=sixteen,
        warnings=(*warnings, *more),
    )


class _Source:
    """The data of a file, and where in it they stand."""

    def __init__(self, text: str, origin: str) -> None:
        self._lines = text.splitlines()
        self.origin = origin
        try:
            self.data: dict[str, Any] = tomli.loads(text)
        except (tomli.TOMLDecodeError, RecursionError) as error:
            raise InvalidTheme(f"{origin} is no valid TOML: {error}") from None

    def at(self, key: str, table: str = "") -> str:
        """The beginning of a message: file, and the line of a key where it stands in the file."""
        number = self._line_of(key, table)
        return f"{self.origin}:{number}: " if number else f"{self.origin}: "

    def _line_of(self, key: str, table: str) -> int:
        current = ""
        for number, line in enumerate(self._lines, start=1):
            heading = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
            current = heading.group(1) if heading else current
            written = re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line)
            if current == table and written and written.group(1) == key:
                return number
            if not table and heading and current == key:
                return number
        return 0


def extended(source: _Source, bases: Mapping[str, str]) -> dict[str, Any]:
    """The data of a file on top of those that it extends. Raises: InvalidTheme."""
    base_name = source.data.get("extends")
    if base_name is None:
        return source.data
    place = source.at("extends")
    if not isinstance(base_name, str) or base_name not in bases:
        near = _near(str(base_name), bases)
        raise InvalidTheme(f'{place}extends "{base_name}", which is no theme that ships with olla{near}')
    base = _Source(bases[base_name], f"{base_name}.toml")
    if "extends" in base.data:
        raise InvalidTheme(f'{place}extends "{base_name}", which extends another theme itself')
    return laid_over(base.data, source.data, source)


def laid_over(base: Mapping[str, Any], data: Mapping[str, Any], source: _Source) -> dict[str, Any]:
    """One file's data over another's, key by key in every table."""
    whole = {**base, **data}
    for table in (*TABLE_NAMES, "glyphs"):
        whole[table] = {**_table(base, table, source), **_table(data, table, source)}
    return whole


def read_tables(data: Mapping[str, Any], source: _Source) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Colours, variables and warnings of all tables. Raises: InvalidTheme."""
    written = _table(data, "colors", source)
    warnings = _unknown(written, (*COLORS, *OPTIONAL_COLORS), source, "colors.")
    for key in COLORS:
        if key not in written:
            raise InvalidTheme(f"{source.at('colors')}colors.{key} is missing")
    known = {key: value for key, value in written.items() if key in (*COLORS, *OPTIONAL_COLORS)}
    colors = {key: _color(value, {}, source, "colors", key) for key, value in known.items()}
    variables: dict[str, str] = {}
    for table, defaults in TABLES.items():
        values = _table(data, table, source)
        no_colors = LEVELS if table == "meter" else {}
        warnings += _unknown(values, (*defaults, *no_colors), source, f"{table}.")
        for key, default in defaults.items():
            value = values.get(key, default)
            variables[variable_name(table, key)] = _color(value, colors, source, table, key)
    for key, value in _table(data, "variables", source).items():
        variables[key] = _variable(value, colors, source, key)
    return colors, variables, warnings


def stand_in(theme: ThemeFile, text: str) -> ThemeFile:
    """What is shown of a theme where there are sixteen colours.

    Args:
        text: the file of the theme that stands in for it.
    """
    source = _Source(text, f"{theme.name}, in sixteen colours")
    colors, variables, _ = read_tables(laid_over(source.data, theme.sixteen, source), source)
    return ThemeFile(theme.name, theme.dark, True, colors, variables, theme.mono, theme.marks)


def _marks(data: Mapping[str, Any], source: _Source) -> Marks:
    table = "meter"
    try:
        levels = read_levels(_table(data, table, source))
        table = "glyphs"
        only_ascii, drawn = read_glyphs(_table(data, table, source))
    except BadMark as error:
        written = source.data.get(table, {})
        key = next((key for key in error.keys if key in written), error.keys[0])
        raise InvalidTheme(f"{source.at(key, table)}{table}.{key}: {error}") from None
    return Marks(levels["warn_at"], levels["high_at"], only_ascii, drawn)


def _table(data: Mapping[str, Any], name: str, source: _Source) -> dict[str, Any]:
    value = data.get(name, {})
    if not isinstance(value, dict):
        raise InvalidTheme(f"{source.at(name)}[{name}] must be a table")
    return value


def _flag(data: Mapping[str, Any], name: str, default: bool, source: _Source) -> bool:
    value = data.get(name, default)
    if not isinstance(value, bool):
        raise InvalidTheme(f"{source.at(name)}{name} must be true or false")
    return value


def _color(value: object, colors: Mapping[str, str], source: _Source, table: str, key: str) -> str:
    place = f"{source.at(key, table)}{table}.{key}"
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


def _variable(value: object, colors: Mapping[str, str], source: _Source, key: str) -> str:
    """A variable of Textual's: colour references are filled in, everything else stays as it is written."""
    if not isinstance(value, str):
        raise InvalidTheme(f"{source.at(key, 'variables')}variables.{key} must be a text in quotes")
    reference, separator, rest = value.partition(" ")
    if not reference.startswith("$"):
        return value
    return _color(reference, colors, source, "variables", key) + separator + rest


def _unknown(found: Mapping[str, object], known: Iterable[str], source: _Source, prefix: str) -> list[str]:
    listed, table = list(known), prefix.removesuffix(".")
    return [
        f"{source.at(key, table)}{prefix}{key} is not known{_near(key, listed)}"
        for key in found
        if key not in listed
    ]


def _near(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""
