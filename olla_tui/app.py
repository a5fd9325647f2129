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
from textual.binding import Binding, BindingType

from olla_tui.actions import DEFAULT_KEYS, PLACES
from olla_tui.alerts import alert, title
from olla_tui.bridge import Bridge
from olla_tui.clip import copy_text
from olla_tui.history.store import HistoryStore
from olla_tui.link import LinkRate
from olla_tui.messages import Noticed, StateChanged, TextSaved
from olla_tui.palette import OllaCommands
from olla_tui.panes.chat_desk import ChatDesk, random_id
from olla_tui.screen_life import ScreenLife
from olla_tui.screens.main import MainScreen
from olla_tui.settings import TuiSettings
from olla_tui.state.conversation import Conversation
from olla_tui.state.keymap import clashes, merge_keys
from olla_tui.state.workstation import Workstation
from olla_tui.term import resume_only_when_suspended
from olla_tui.text import markdown
from olla_tui.themed_app import ThemedApp
from olla_tui.widgets.transcript import Transcript
from server.services.protocols import Services

log = logging.getLogger("olla.screen")

QuitChoice = Literal["quit", "keep"]

TWICE_S = 2.0
"""Two interrupts within this time ask whether to quit."""


class OllaApp(ThemedApp[QuitChoice]):
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
        is_olla: bool = True,
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
            is_olla: the server has olla's own routes.
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
        teach_alt_digits()
        super().__init__(settings)
        self.animation_level = "none"
        self.state = Workstation(address=address, attached=attached, is_olla=is_olla, glyphs=self.glyphs())
        self.state.wants_low_bandwidth = settings.low_bandwidth
        self.failure: BaseException | None = None
        self._open_services, self._serving = open_services, serving
        self._starting: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self.bridge = Bridge(None, self.state, clock=clock, link=link)
        self._link = link
        self._spares_link: tuple[bool, bool] | None = None
        self._spare_link()
        self.desk = ChatDesk(self.bridge, history, new_id=new_id)
        self.life = ScreenLife(self.bridge, self.desk, settings.bookmark_file)
        self.keys, self._key_problems = merge_keys(DEFAULT_KEYS, settings.keys)
        self._hang_up, self._watch = hang_up, watch
        self._notes = tuple(notes)
        self._settled = settled
        self._interrupted_at = float("-inf")
        self._mouse = settings.mouse
        self.main = MainScreen(self.bridge, self.desk, settings, self.keys)

    # --- start and end ---

    def get_default_screen(self) -> MainScreen:
        return self.main

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
        self.add_other_themes()
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
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(), name="olla-leave")

    async def _leave(self) -> None:
        """End once the answers under way have come to their end."""
        await self.life.leave(self.main.chat_pane.composer.text)
        self.exit("keep")

    async def _get_ready(self) -> None:
        """Do what can wait until the store is on the screen."""
        await self.bridge.has_polled.wait()
        for note in self._notes:
            self.notice(note, "information", "")
        self.main.chat_pane.composer.set_history(await self.desk.prompts())
        await asyncio.to_thread(markdown.warm_up)
        still = await self.life.go_on(self.main.chat_pane.write)
        if still:
            self.notice(still, "information", "")
        self._settled()

    async def on_unmount(self) -> None:
        self.stop_watching_themes()
        for task in (self._starting, self._leaving):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        await self.bridge.close()
        await self.desk.close()

    # --- what the bridge tells ---

    def state_changed(self, parts: frozenset[str]) -> None:
        """Hand a change to the screen."""
        self._spare_link()
        self.main.post_message(StateChanged(parts))

    def chat_ended(self, chat: Conversation) -> None:
        """Keep a chat whose answer came to its end, and call the user back to it."""
        self.bridge.order(self.desk.save(chat))
        if not self.app_focus and self.settings.alerts:
            words = f"{chat.title or 'olla'}: {chat.model} has answered"
            self._write_to_terminal(alert(self.settings.alerts, words, self.settings.terminal))

    def on_app_focus(self) -> None:
        """The user is back: the title needs to tell nothing more."""
        if "title" in self.settings.alerts:
            self._write_to_terminal(title("olla"))

    def _spare_link(self) -> None:
        """Ask and paint as often as the link allows, and send only what changes unless that is not wanted."""
        low, only_changes = self.state.low_bandwidth, self.state.wants_low_bandwidth is not False
        if (low, only_changes) == self._spares_link:
            return
        self._spares_link = low, only_changes
        self.bridge.set_pace(*self.settings.pace(low_bandwidth=low))
        if self._link is not None:
            self._link.spare(only_changes)

    def on_resize(self) -> None:
        if self._link is not None:
            self._link.forget()

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

    def take_glyphs(self) -> None:
        if self.is_running:
            self.state.glyphs = self.glyphs()
            self.bridge.touch("status", "chat")

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

    def action_next_bandwidth(self) -> None:
        """Spare the link always, then never, then when it is slow."""
        following: dict[bool | None, bool | None] = {None: True, True: False, False: None}
        words = {None: "when it is slow", True: "always", False: "never"}
        self.state.wants_low_bandwidth = chosen = following[self.state.wants_low_bandwidth]
        self.bridge.touch("link", "chat")
        self.notice(f"the link is spared {words[chosen]}", "information", "")

    def action_redraw(self) -> None:
        """Send all that the screen shows: something else may have written over it."""
        self.on_resize()
        self.refresh(layout=True)

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
