"""Where themes come from: the files that ship with olla, and the user's own folder, which is watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path

from olla_tui.contrast import DEPTHS, Contrast, contrasts
from olla_tui.settings import Depth
from olla_tui.theme import InvalidTheme, ThemeFile, default_variables, parse_theme, stand_in
from server.errors import OllaError

MAX_FILE_BYTES = 64 * 1024
BUILTIN = (
    "olla-dark",
    "olla-light",
    "mono",
    "ansi-dark",
    "ansi-light",
    "high-contrast",
    "colour-blind",
    "solarized-dark",
)
"""Names of the themes that ship with olla, each in a file of its name."""


@cache
def builtin_text(name: str) -> str:
    """The file of a theme that ships with olla. Raises: KeyError."""
    if name not in BUILTIN:
        raise KeyError(name)
    return resources.files("themes").joinpath(f"{name}.toml").read_text(encoding="utf-8")


class _BuiltinTexts(Mapping[str, str]):
    """The files that a theme may extend; each is read when it is wanted."""

    def __getitem__(self, name: str) -> str:
        return builtin_text(name)

    def __iter__(self) -> Iterator[str]:
        return iter(BUILTIN)

    def __len__(self) -> int:
        return len(BUILTIN)


BASES = _BuiltinTexts()


def builtin_theme(name: str) -> ThemeFile:
    """A theme that ships with olla. Raises: KeyError."""
    return parse_theme(builtin_text(name), f"{name}.toml", BASES)


def builtin_themes() -> list[ThemeFile]:
    """All themes that ship with olla."""
    return [builtin_theme(name) for name in BUILTIN]


def user_themes(directory: Path) -> tuple[list[ThemeFile], list[InvalidTheme]]:
    """The themes in a directory, and what is wrong with those that cannot be used."""
    loaded: list[ThemeFile] = []
    failed: list[InvalidTheme] = []
    for path in theme_paths(directory):
        try:
            loaded.append(load_theme(path))
        except InvalidTheme as error:
            failed.append(error)
    return loaded, failed


def theme_paths(directory: Path) -> list[Path]:
    """The theme files of a directory, by name; none where there is no directory."""
    return sorted(directory.glob("*.toml")) if directory.is_dir() else []


def folder_state(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time of change in ns and size in bytes of each theme file: it differs once one was changed."""
    found = []
    for path in theme_paths(directory):
        try:
            stat = path.stat()
        except OSError:  # removed since it was listed
            continue
        found.append((path.name, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def load_theme(path: Path) -> ThemeFile:
    """The theme in a file, with a warning for each variable that Textual lacks. Raises: InvalidTheme."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidTheme(f"{path} is larger than a theme can be ({MAX_FILE_BYTES // 1024} kB)")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidTheme(f"{path} cannot be read: {error}") from None
    theme = parse_theme(text, str(path), BASES)
    known = theme.to_textual().to_color_system().generate() | default_variables()
    strange = [key for key in theme.variables if key not in known]
    more = tuple(f"{path}: variables.{key} is no variable of Textual's" for key in strange)
    return replace(theme, warnings=theme.warnings + more)


def in_depth(theme: ThemeFile, depth: Depth) -> ThemeFile:
    """What is shown of a theme by a terminal with so many colours.

    With sixteen, which the terminal's user has chosen, a theme of other colours gives way to one that uses
    them by their names: the nearest of sixteen to a colour is often a grey.
    """
    if depth != "16" or theme.ansi:
        return theme
    return stand_in(theme, builtin_text("ansi-dark" if theme.dark else "ansi-light"))


def check(theme: ThemeFile) -> list[Contrast]:
    """Every contrast of a theme in every depth."""
    found: list[Contrast] = []
    for depth in DEPTHS:
        shown = in_depth(theme, depth)
        found += contrasts(shown.values, dark=shown.dark, depth=depth)
    return found


def new_theme(directory: Path, name: str) -> Path:
    """Write a theme of that name that extends `olla-dark` and shows what can be set; gives its file.

    Raises: OllaError when there is such a file or it cannot be written.
    """
    path = directory / f"{name}.toml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_as_new(builtin_text("olla-dark"), name))
    except OSError as error:
        if path.exists():
            hint = "Give the new theme another name."
            raise OllaError(f"{path} is there already", hint=hint) from None
        raise OllaError(f"{path} cannot be written: {error.strerror}") from None
    return path


def _as_new(text: str, name: str) -> str:
    """The base with another name, every value a comment: what is not said stays as it is in the base."""
    lines = []
    for line in text.splitlines():
        if line.startswith("name =") and "[colors]" not in lines:
            lines += [f'name = "{name}"', 'extends = "olla-dark"']
        else:
            is_value = "=" in line and not line.startswith(("schema", "dark"))
            lines.append(f"# {line}" if is_value else line)
    return "\n".join(lines) + "\n"
