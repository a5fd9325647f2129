"""The themes that the screen can show: what ships, what the user wrote, and changes meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from olla_tui.settings import Depth
from olla_tui.theme import ThemeFile
from olla_tui.theme_files import BUILTIN, builtin_theme, folder_state, in_depth, user_themes
from olla_tui.theme_marks import Marks

DEFAULT_THEME = "olla-dark"
NO_COLOR_THEME = "mono"


class ThemeShelf:
    """Reads themes when they are wanted, and the user's again when they change.

    Attributes:
        wanted: the theme to begin with.
        without_color: the user wants no colours, and there is but one theme.
        problems: sentences on what was left aside, to be told and cleared.
    """

    def __init__(self, directory: Path | None, wanted: str, depth: Depth, *, without_color: bool) -> None:
        self.wanted = NO_COLOR_THEME if without_color else wanted
        self.without_color = without_color
        self.problems: list[str] = []
        self._directory = directory
        self._depth = depth
        self._shown: dict[str, ThemeFile] = {}
        self._state = folder_state(directory) if directory else ()

    def first(self) -> list[ThemeFile]:
        """Those that the first frame needs: the wanted one, and the default where there is no such theme."""
        found: dict[str, ThemeFile] = {}
        if self.wanted in BUILTIN:
            found[self.wanted] = builtin_theme(self.wanted)
        if not self.without_color:
            found |= {theme.name: theme for theme in self._read_own()}
        if self.wanted not in found:
            found[DEFAULT_THEME] = builtin_theme(DEFAULT_THEME)
        return self._take(found.values())

    def rest(self) -> list[ThemeFile]:
        """Those that ship and were not needed yet."""
        names = () if self.without_color else BUILTIN
        return self._take(builtin_theme(name) for name in names if name not in self._shown)

    def changed(self) -> list[ThemeFile]:
        """The user's themes once more, when a file of theirs was changed; a faulty one stays as it was."""
        state = folder_state(self._directory) if self._directory else ()
        if state == self._state or self.without_color:
            return []
        self._state = state
        return self._take(self._read_own())

    def is_mono(self, name: str) -> bool:
        """Whether the theme is shown without any colour."""
        return self.without_color or (name in self._shown and self._shown[name].mono)

    def marks(self, name: str) -> Marks:
        """Levels of meters and characters of a theme; those of Textual's own say nothing of them."""
        return self._shown[name].marks if name in self._shown else Marks()

    def names(self) -> list[str]:
        """Olla's own themes in their order, then the user's."""
        own = sorted(name for name in self._shown if name not in BUILTIN)
        return [name for name in BUILTIN if name in self._shown] + own

    def _read_own(self) -> list[ThemeFile]:
        if self._directory is None:
            return []
        loaded, failed = user_themes(self._directory)
        self.problems += [warning for theme in loaded for warning in theme.warnings]
        self.problems += [error.message for error in failed]
        return loaded

    def _take(self, themes: Iterable[ThemeFile]) -> list[ThemeFile]:
        shown = [in_depth(theme, self._depth) for theme in themes]
        self._shown |= {theme.name: theme for theme in shown}
        return shown
