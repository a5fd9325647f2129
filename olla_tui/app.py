"""The workstation: one Textual application over the service protocols."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, cast

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.app import App
from textual.binding import Binding, BindingType
from textual.filter import LineFilter, Monochrome
from textual.theme import Theme

from olla_tui.actions import DEFAULT_KEYS, PLACES
from olla_tui.bridge import Bridge, LinkRate
from olla_tui.clip import copy_text
from olla_tui.history.store import HistoryStore
from olla_tui.messages import Noticed, StateChanged, TextSaved
from olla_tui.palette import OllaCommands
from olla_tui.panes.chat_desk import ChatDesk, random_id
from olla_tui.plain_look import OnlyAscii, WithoutColor
from olla_tui.screens.main import MainScreen
from olla_tui.settings import TuiSettings, speaks_utf8
from olla_tui.state.conversation import Conversation
from olla_tui.state.graphs import ASCII, UNICODE
from olla_tui.state.keymap import clashes, merge_keys
from olla_tui.state.workstation import Workstation
from olla_tui.term import resume_only_when_suspended
from olla_tui.text import markdown
from olla_tui.theme import ThemeFile, default_variables, follow
from olla_tui.theme_shelf import DEFAULT_THEME, ThemeShelf
from olla_tui.widgets.transcript import Transcript
from server.services.protocols import Services

log = logging.getLogger("olla.screen")

QuitChoice = Literal["quit", "keep"]

THEMES_EVERY_S = 1.0
"""Between two looks at the folder of the user's themes."""
TWICE_S = 2.0
"""Two interrupts within this time ask whether to quit."""


class OllaApp(App[QuitChoice]):
    """The workstation. Its result says whether the server should go on: "quit" or "keep"."""

    TITLE = "olla"
    CSS_PATH = "styles/main.tcss"
    COMMANDS: ClassVar = {OllaCommands}
    COMMAND_PALETTE_BINDING = "none"
    ESCAPE_TO_MINIMIZE: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "ask_to_quit", "Quit", show=False, priority=True, id="app.quit"),
    ]

    def __init__(
        self,
        open_services: Callable[[], Awaitable[Services]],
        settings: TuiSettings,
        *,
        attached: bool,
        serving: Callable[[], Awaitable[None]] | None = None,
        address: str = "127.0.0.1:11434",
        history: HistoryStore | None = None,
        link: LinkRate | None = None,
        hang_up: Callable[[], None] | None = None,
        watch: Callable[[Callable[[], object]], None] | None = None,
        notes: Sequence[str] = (),
        settled: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = random_id,
    ) -> None:
        """Make the workstation.

        Args:
            open_services: gives the services; asked once the first frame is out.
            attached: the server is another process, which the screen never ends.
            serving: waits until the server of this process answers requests. What it or `open_services`
                raises ends the screen, and is its `failure`.
            address: host and port, for the header.
            history: where chats are kept; None keeps them nowhere.
            hang_up: lets go of the terminal once it is gone; the server then goes on without a screen.
            watch: calls what it is given, from a thread, when the terminal hangs up without a signal.
            notes: sentences to begin with.
            settled: called once all that a start does is done.
            clock: Unix time in seconds.
        """
        self.settings = settings
        self._shelf = ThemeShelf(
            settings.themes_dir, settings.theme, settings.depth, without_color=settings.no_color
        )
        teach_alt_digits()
        super().__init__()
        self.animation_level = "none"
        self.state = Workstation(
            address=address, attached=attached, glyphs=ASCII if settings.ascii_only else UNICODE
        )
        self.failure: BaseException | None = None
        self._open_services, self._serving = open_services, serving
        self._starting: asyncio.Task[None] | None = None
        poll_s, frames_per_s = settings.poll_s, settings.frames_per_s
        self.bridge = Bridge(
            None, self.state, poll_s=poll_s, frames_per_s=frames_per_s, clock=clock, link=link
        )
        self.desk = ChatDesk(self.bridge, history, new_id=new_id)
        self.keys, self._key_problems = merge_keys(DEFAULT_KEYS, settings.keys)
        self._hang_up, self._watch = hang_up, watch
        self._without_color = WithoutColor()
        self._only_ascii = (
            [OnlyAscii(letters=not speaks_utf8(settings.terminal))] if settings.ascii_only else []
        )
        self._watching_themes: asyncio.Task[None] | None = None
        self._notes = tuple(notes)
        self._settled = settled
        self._interrupted_at = float("-inf")
        self._mouse = settings.mouse
        self.main = MainScreen(self.bridge, self.desk, settings, self.keys)
        self._register_themes()

    # --- start and end ---

    def get_default_screen(self) -> MainScreen:
        return self.main

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
        return [*filters, *self._only_ascii]

    @property
    def available_themes(self) -> dict[str, Theme]:
        """The themes to choose from; without colours there is one."""
        known = super().available_themes
        only = self._shelf.wanted
        return {only: known[only]} if self._shelf.without_color and self.theme == only else known

    def _register_themes(self) -> None:
        shelf = self._shelf
        self._add_themes(shelf.first())
        is_there = shelf.wanted in self.available_themes
        if not is_there:
            shelf.problems.append(f'there is no theme "{shelf.wanted}"; "{DEFAULT_THEME}" is used')
        self.theme = shelf.wanted if is_there else DEFAULT_THEME

    def _add_themes(self, themes: Sequence[ThemeFile]) -> None:
        for theme in themes:
            self.register_theme(theme.to_textual())

    async def _watch_themes(self) -> None:
        while True:
            await asyncio.sleep(THEMES_EVERY_S)
            self.take_changed_themes(await asyncio.to_thread(self._shelf.changed))

    def take_changed_themes(self, themes: Sequence[ThemeFile]) -> None:
        """Show the user's themes as they are now, and tell what is wrong with them."""
        self._add_themes(themes)
        if self.theme in {theme.name for theme in themes}:
            self._watch_theme(self.theme)
        self._tell_theme_problems()

    def _tell_theme_problems(self) -> None:
        for problem in self._shelf.problems:
            self.notice(problem, "warning", "")
        self._shelf.problems.clear()

    async def on_mount(self) -> None:
        changed = {key: value or "none" for key, value in self.keys.items() if value != DEFAULT_KEYS[key]}
        if changed:
            self.set_keymap(changed)
        self._listen_to_signals()
        await self.main.is_up.wait()  # keys wait until there is something to write into
        # The first frame goes out before the store and the history are read.
        self.call_after_refresh(self._start)

    def _start(self) -> None:
        self._starting = asyncio.create_task(self._connect(), name="olla-start")
        self._add_themes(self._shelf.rest())
        if self.settings.themes_dir is not None:
            self._watching_themes = asyncio.create_task(self._watch_themes(), name="olla-themes")
        self._tell_theme_problems()
        problems = [*self.settings.warnings, *self._key_problems]
        problems += [str(clash) for clash in clashes(self.keys, PLACES)]
        for problem in problems:
            self.notice(problem, "warning", "")

    async def _connect(self) -> None:
        """Get hold of the services, and end when their server cannot start."""
        try:
            self.bridge.connect(await self._open_services())
            self.bridge.start(self)
            self.bridge.order(self._get_ready())
            if self._serving is not None:
                await self._serving()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.failure = error
            self.exit()

    def _listen_to_signals(self) -> None:
        """End in order when the terminal hangs up or the process is told to end."""
        if self._hang_up is None:
            return
        loop = asyncio.get_running_loop()
        gone = partial(self._terminal_gone, self._hang_up)
        loop.add_signal_handler(signal.SIGHUP, gone)
        if self._watch is not None:
            self._watch(partial(loop.call_soon_threadsafe, gone))
        loop.add_signal_handler(signal.SIGTERM, self.exit, "quit")
        resume_only_when_suspended(lambda: bool(getattr(self._driver, "_must_signal_resume", False)))

    def _terminal_gone(self, hang_up: Callable[[], None]) -> None:
        hang_up()
        self.exit("keep")

    async def _get_ready(self) -> None:
        """Do what can wait until the store is on the screen."""
        await self.bridge.has_polled.wait()
        for note in self._notes:
            self.notice(note, "information", "")
        self.main.chat_pane.composer.set_history(await self.desk.prompts())
        await asyncio.to_thread(markdown.warm_up)
        self._settled()

    async def on_unmount(self) -> None:
        for task in (self._starting, self._watching_themes):
            if task is not None:
                task.cancel()
        await self.bridge.close()
        await self.desk.close()

    # --- what the bridge tells ---

    def state_changed(self, parts: frozenset[str]) -> None:
        """Hand a change to the screen."""
        self.main.post_message(StateChanged(parts))

    def notice(self, text: str, severity: str, hint: str) -> None:
        """Show a toast."""
        level = {"error": "error", "warning": "warning"}.get(severity, "information")
        words = f"{text}\n{hint}" if hint else text
        self.notify(words, severity=level, markup=False)  # type: ignore[arg-type]

    def chat_ended(self, chat: Conversation) -> None:
        """Keep a chat whose answer came to its end."""
        self.bridge.order(self.desk.save(chat))

    def on_noticed(self, event: Noticed) -> None:
        self.notice(event.text, event.severity, event.hint)

    # --- files and clipboard ---

    def on_transcript_copy_requested(self, event: Transcript.CopyRequested) -> None:
        self.bridge.order(self._copy(event.text, event.what))

    async def _copy(self, text: str, what: str) -> None:
        """Copy by every way that may work, and say which one did."""
        copied = await copy_text(
            text,
            terminal=self.settings.terminal,
            platform=sys.platform,
            write=self._write_to_terminal,
            file=self.settings.clip_file,
        )
        self.notice(f"{what}: {copied.message}", "information", "")

    def _write_to_terminal(self, sequence: str) -> None:
        if self._driver is not None:
            self._driver.write(sequence)

    def on_text_saved(self, event: TextSaved) -> None:
        name = f"{event.stem}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(self.bridge.clock()))}.txt"
        path = self.settings.save_dir / name
        try:
            write_private(path, event.text)
        except OSError as error:
            self.notice(f"{path} cannot be written: {error.strerror}", "error", "")
        else:
            self.notice(f"saved to {path}", "information", "")

    # --- actions of the whole screen ---

    def action_interrupt(self) -> None:
        """Copy a selection, stop an answer, or, the second time within two seconds, ask whether to quit."""
        selected = self.screen.get_selected_text()
        chat = self.state.chat
        now = time.monotonic()
        if selected:
            self.bridge.order(self._copy(selected, "selection"))
            self.screen.clear_selection()
        elif chat is not None and self.bridge.stop(chat):
            self._interrupted_at = now
        elif now - self._interrupted_at <= TWICE_S:
            self.action_ask_to_quit()
        else:
            self._interrupted_at = now
            self.notice("Nothing to stop; ctrl+c again quits.", "information", "")

    def action_ask_to_quit(self) -> None:
        """Close an attached screen at once; otherwise ask what becomes of the server."""
        if self.state.attached:
            self.exit("quit")
            return
        from olla_tui.screens.confirm import quit_dialog

        def answered(answer: str | None) -> None:
            if answer == "quit":
                self.exit("quit")
            elif answer == "keep":
                self.exit("keep")

        n_open = self.state.snapshot.n_active + self.state.snapshot.n_queued if self.state.snapshot else 0
        self.push_screen(quit_dialog(self.state.address, n_open), answered)

    def action_next_theme(self) -> None:
        """Switch to the next of olla's and the user's own themes."""
        names = self._shelf.names()
        index = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(index + 1) % len(names)]
        why = " (NO_COLOR is set)" if self._shelf.without_color else ""
        self.notice(f"theme: {self.theme}{why}", "information", "")

    def action_toggle_mouse(self) -> None:
        """Give the mouse to the terminal, so that it selects text, or take it back."""
        driver = self._driver
        switch = getattr(driver, "_disable_mouse_support" if self._mouse else "_enable_mouse_support", None)
        if switch is None:
            self.notice("this terminal's mouse cannot be switched", "warning", "")
            return
        switch()
        self._mouse = not self._mouse
        owner = "workstation" if self._mouse else "terminal"
        self.notice(f"the {owner} has the mouse", "information", "")


def teach_alt_digits() -> None:
    """Make alt+1 to alt+9 keys of their own in terminals without the kitty protocol.

    Textual reads their escape sequences as what Option and a digit type on a Mac ("™" for alt+2). A terminal
    that sends the escape sequence means the key, and one that means the character sends the character.
    """
    sequences = cast(dict[str, object], ANSI_SEQUENCES_KEYS)
    for digit in "0123456789":
        sequences.pop(f"\x1b{digit}", None)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read. Raises: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text, encoding="utf-8")
