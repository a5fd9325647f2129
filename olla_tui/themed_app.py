"""What the application looks like: its themes, and what a terminal without colours or UTF-8 is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from textual.app import App
from textual.filter import LineFilter, Monochrome
from textual.theme import Theme

from olla_tui.plain_look import OnlyAscii, WithoutColor
from olla_tui.settings import TuiSettings, speaks_utf8
from olla_tui.state.graphs import Glyphs
from olla_tui.theme import ThemeFile, default_variables, follow
from olla_tui.theme_shelf import DEFAULT_THEME, ThemeShelf

THEMES_EVERY_S = 1.0
"""Between two looks at the folder of the user's themes."""

R = TypeVar("R")


class ThemedApp(App[R]):
    """An application in olla's and the user's themes."""

    def __init__(self, settings: TuiSettings) -> None:
        self.settings = settings
        self._shelf = ThemeShelf(
            settings.themes_dir, settings.theme, settings.depth, without_color=settings.no_color
        )
        super().__init__()
        self._without_color = WithoutColor()
        self._only_ascii = OnlyAscii(letters=not speaks_utf8(settings.terminal))
        self._watching_themes: asyncio.Task[None] | None = None
        self._begin_with_themes()

    def notice(self, text: str, severity: str, hint: str) -> None:
        """Show a toast."""
        level = {"error": "error", "warning": "warning"}.get(severity, "information")
        words = f"{text}\n{hint}" if hint else text
        self.notify(words, severity=level, markup=False)  # type: ignore[arg-type]

    def watch_theme(self) -> None:
        """Another theme may draw with other characters; Textual sees to its colours."""
        self.take_glyphs()

    def refresh_css(self, animate: bool = True) -> None:
        if self.screen_stack:
            super().refresh_css(animate)
        else:  # a theme was set before there is anything to style
            self.stylesheet.set_variables(self.get_css_variables())

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return default_variables()

    def get_css_variables(self) -> dict[str, str]:
        # Textual does not follow a variable that refers to another one.
        variables = super().get_css_variables()
        self.theme_variables = {name: follow(value, variables) for name, value in variables.items()}
        return self.theme_variables

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters: Sequence[LineFilter] = super().get_line_filters()
        if self._shelf.is_mono(self.theme):
            # Textual's own filter for NO_COLOR paints the terminal's default colours black on black.
            filters = [known for known in filters if not isinstance(known, Monochrome)]
            filters = [*filters, self._without_color]
        if self.settings.ascii_only or self._shelf.marks(self.theme).only_ascii:
            filters = [*filters, self._only_ascii]
        return filters

    def glyphs(self) -> Glyphs:
        """What bars and marks are drawn with, by the theme and the terminal."""
        return self._shelf.marks(self.theme).glyphs(ascii_only=self.settings.ascii_only)

    def take_glyphs(self) -> None:
        """Show everything with what the theme draws with now."""

    @property
    def available_themes(self) -> dict[str, Theme]:
        """The themes to choose from; without colours there is one."""
        known = super().available_themes
        only = self._shelf.wanted
        return {only: known[only]} if self._shelf.without_color and self.theme == only else known

    def _begin_with_themes(self) -> None:
        shelf = self._shelf
        self._add_themes(shelf.first())
        is_there = shelf.wanted in self.available_themes
        if not is_there:
            shelf.problems.append(f'there is no theme "{shelf.wanted}"; "{DEFAULT_THEME}" is used')
        self.theme = shelf.wanted if is_there else DEFAULT_THEME

    def _add_themes(self, themes: Sequence[ThemeFile]) -> None:
        for theme in themes:
            self.register_theme(theme.to_textual())

    def add_other_themes(self) -> None:
        """Make all themes known, tell what is wrong with the user's, and watch those from now on."""
        self._add_themes(self._shelf.rest())
        if self.settings.themes_dir is not None:
            self._watching_themes = asyncio.create_task(self._watch_themes(), name="olla-themes")
        self._tell_theme_problems()

    def stop_watching_themes(self) -> None:
        """Look at the user's themes no more."""
        if self._watching_themes is not None:
            self._watching_themes.cancel()

    async def _watch_themes(self) -> None:
        while True:
            await asyncio.sleep(THEMES_EVERY_S)
            self.take_changed_themes(await asyncio.to_thread(self._shelf.changed))

    def take_changed_themes(self, themes: Sequence[ThemeFile]) -> None:
        """Show the user's themes as they are now, and tell what is wrong with them."""
        self._add_themes(themes)
        if self.theme in {theme.name for theme in themes}:
            self._watch_theme(self.theme)
            self.take_glyphs()
        self._tell_theme_problems()

    def _tell_theme_problems(self) -> None:
        for problem in self._shelf.problems:
            self.notice(problem, "warning", "")
        self._shelf.problems.clear()

    def action_next_theme(self) -> None:
        """Switch to the next of olla's and the user's own themes."""
        names = self._shelf.names()
        index = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(index + 1) % len(names)]
        why = " (NO_COLOR is set)" if self._shelf.without_color else ""
        self.notice(f"theme: {self.theme}{why}", "information", "")
