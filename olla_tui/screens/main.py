"""The one screen: header, tabs, panes, rail and key hints, laid out by the terminal's size."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget

from olla_tui.actions import ACTIONS, BY_ID, DEFAULT_KEYS, PANES, Action, bindings_for, key_text
from olla_tui.bridge import Bridge
from olla_tui.client.launch import LOCAL_HOSTS
from olla_tui.messages import ActionChosen, ChatWanted, DialogWanted, StateChanged
from olla_tui.palette import Command, command_title, palette_actions
from olla_tui.panes.base import Pane
from olla_tui.panes.chat import ChatPane
from olla_tui.panes.chat_desk import ChatDesk
from olla_tui.screens.dialogs import Dialogs
from olla_tui.settings import TuiSettings
from olla_tui.state.header import header_row, hints_row, tabs_row
from olla_tui.state.layout import Layout, choose_layout, too_small_rows
from olla_tui.state.rail import rail_rows
from olla_tui.state.rows import Span, row
from olla_tui.state.workstation import ANSWER_ONLY
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.composer import is_written

SIZE_CLASSES = frozenset({"-none", "-tiny", "-narrow", "-wide", "-huge", "-tall"})
ALL_PARTS = frozenset(("status", "models", "logs", "chat", "pulls"))
N_MODEL_COMMANDS = 50


class MainScreen(Screen[None]):
    """Shows one pane, or several where there is room; hands the state to those that are visible."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings_for(""),
        Binding("q", "quit_small", "Quit", show=False, id="small.quit"),
    ]
    AUTO_FOCUS = ""  # a pane is given the focus, not whatever stands first; None would take the app's way

    def __init__(self, bridge: Bridge, desk: ChatDesk, settings: TuiSettings, keys: dict[str, str]) -> None:
        """Make the screen.

        Args:
            keys: action id to the keys in force, for hints and palette.
        """
        super().__init__()
        self.bridge = bridge
        self.desk = desk
        self._settings = settings
        self._keys = keys or DEFAULT_KEYS
        self.active = "chat"
        self.is_up = asyncio.Event()
        self._last = "chat"
        self._main = "chat"
        self._layout_choice = Layout("narrow", False)
        self._panes: dict[str, Pane] = {}
        self._growing = asyncio.Lock()
        self.dialogs = Dialogs(
            self,
            bridge,
            desk,
            run_shell=lambda line: self.chat_pane.sender.run_shell(line),
            draft_of=lambda text: self.chat_pane.sender.draft_of(text),
        )

    def compose(self) -> ComposeResult:
        # Before there is anything below it: later, each class would style everything again.
        self._choose_layout()
        yield LineBoard(id="header")
        yield LineBoard(id="tabs")
        with Horizontal(id="body"):
            if self._layout_choice.library:
                yield self._make_pane("models")
            with Container(id="stack"):
                yield self._make_pane("chat")
            yield LineBoard(id="rail")
        yield LineBoard(id="footer")
        yield LineBoard(id="too-small")

    async def on_mount(self) -> None:
        await self.show_pane("chat")
        self.call_after_refresh(self.is_up.set)

    def _screen_resized(self, size: Size) -> None:
        # Textual lays the screen out for every event of its size, and each layout brings another one about.
        if size != self._compositor.size:
            super()._screen_resized(size)

    def _compositor_refresh(self) -> None:
        if self.app._batch_count:
            self.refresh()  # what is drawn within a batch is thrown away, and needed after it
        else:
            super()._compositor_refresh()

    # --- panes ---

    def _make_pane(self, name: str) -> Pane:
        if name == "chat":
            settings = self._settings
            low = self.bridge.state.low_bandwidth
            pane: Pane = ChatPane(
                self.bridge, self.desk, editor=settings.editor, low_bandwidth=low, shell=settings.shell
            )
        elif name == "bench":
            pane = self._make_bench_pane()
        else:
            pane = side_pane(name)(self.bridge)
        pane.set_class(name == self.active, "-shown", update=False)
        pane.expected_columns = self._columns_of(name)
        self._panes[name] = pane
        return pane

    def _make_bench_pane(self) -> Pane:
        from olla_tui.history.bench_book import BenchBook
        from olla_tui.panes.bench import BenchPane

        host = self.bridge.state.address.rpartition(":")[0]
        return BenchPane(self.bridge, BenchBook(self._settings.bench_file), is_local=host in LOCAL_HOSTS)

    def _columns_of(self, name: str) -> int:
        """How wide a pane will be."""
        width, layout = self.app.size.width, self._layout_choice
        beside = layout.rail + (layout.library if name != "models" else 0)
        return width - (0 if self.has_class("-zoomed") else beside)

    async def have_pane(self, name: str) -> Pane:
        """The pane of that id; it is made when it is wanted first."""
        async with self._growing:
            if name not in self._panes:
                # Before the stack, whose place is between the library and the rail.
                at = {"before": "#stack"} if name == "models" else {}
                place = self.query_one("#body" if name == "models" else "#stack")
                await place.mount(self._make_pane(name), **at)
        return self._panes[name]

    def pane(self, name: str) -> Pane:
        """The pane of that id, which has been shown before. Raises: KeyError."""
        return self._panes[name]

    @property
    def chat_pane(self) -> ChatPane:
        """The chat's pane."""
        return self.query_one(ChatPane)

    async def show_pane(self, name: str) -> None:
        """Show a pane and give it the focus."""
        pane = await self.have_pane(name)
        if name != self.active:
            self._last = self.active
        self.active = name
        if name != "models":
            self._main = name
        self.set_class(name == "models", "-models")
        for other, known in self._panes.items():
            known.set_class(other == (name if other == "models" else self._main), "-shown")
        self._watch_what_is_shown()
        self._refresh_all(ALL_PARTS)
        pane.focus_inside()

    def visible_panes(self) -> list[Pane]:
        """The panes that can be seen now."""
        if self._layout_choice.size == "none":
            return []
        names = {self.active}
        if self._layout_choice.size == "huge" and not self.has_class("-zoomed"):
            names |= {"models", self._main}
        return [pane for name, pane in self._panes.items() if name in names]

    async def on_resize(self) -> None:
        was_small = self._layout_choice.size == "none"
        self._choose_layout()
        layout = self._layout_choice
        if layout.library:
            await self.have_pane("models")
        self._watch_what_is_shown()
        self._refresh_all(ALL_PARTS)
        # The new sizes of panes and rail are known after the layout that this brings about.
        self.call_after_refresh(self._refresh_all, ALL_PARTS)
        if layout.size == "none":
            self.set_focus(None)  # nobody writes where nothing can be seen
        elif was_small:
            self.call_after_refresh(self.pane(self.active).focus_inside)

    def _choose_layout(self) -> None:
        width, height = self.app.size
        self._layout_choice = layout = choose_layout(width, height)
        wanted = {f"-{layout.size}", *(["-tall"] if layout.tall else [])}
        if wanted != self.classes & SIZE_CLASSES:
            self.set_classes((self.classes - SIZE_CLASSES) | wanted)

    def _watch_what_is_shown(self) -> None:
        self.bridge.watch_logs(self.active == "logs" or self._rail_has_log())
        self.bridge.watch_partials(self.active == "pulls")
        if self.active != "gpus":
            self.bridge.watch_history(0)

    def _rail_has_log(self) -> bool:
        return self._layout_choice.rail > 0 and not self.has_class("-zoomed")

    # --- showing the state ---

    def on_state_changed(self, event: StateChanged) -> None:
        event.stop()
        self._refresh_all(event.parts)

    def _refresh_all(self, parts: frozenset[str]) -> None:
        if not self._panes:
            return
        if parts == ANSWER_ONLY:  # many times a second: nothing else on the screen tells of it
            if self.pane("chat") in self.visible_panes():
                self.pane("chat").refresh_from(parts)
            return
        width, height = self.app.size
        state = self.bridge.state
        if self._layout_choice.size == "none":
            self.query_one("#too-small", LineBoard).show(too_small_rows(width))
            return
        self.query_one("#header", LineBoard).show([header_row(state, width)])
        self.query_one("#tabs", LineBoard).show([tabs_row(PANES, self.active, width)])
        for pane in self.visible_panes():
            pane.refresh_from(parts)
        rail = self.query_one("#rail", LineBoard)
        if self._layout_choice.rail and not self.has_class("-zoomed"):
            rail_width = rail.content_size.width or self._layout_choice.rail - 2
            rail_height = rail.content_size.height or height - 3
            rail.show(rail_rows(state, rail_width, rail_height, with_log=self._rail_has_log()))
        self._show_hints()

    def _show_hints(self) -> None:
        pane = self.pane(self.active)
        hints: list[tuple[str, str, str]] = []
        if self.active == "chat" and self.chat_pane.composer.has_focus:
            hints += [("⏎", "send", ""), ("^J", "newline", "")]
        for action in ACTIONS:
            if action.place == self.active and action.hint and self._works(action, pane):
                hints.append((self._first_key(action), action.hint, action.id))
        if self.active != "chat":
            hints.append(("esc", "chat", "pane.chat"))
        # How to leave is said at every width.
        leave = row(
            Span(self._first_key(BY_ID["app.quit"]), "key", "app.quit"), Span(" quit ", "muted", "app.quit")
        )
        self.query_one("#footer", LineBoard).show([hints_row(hints, leave, self.app.size.width)])

    def on_key(self, event: events.Key) -> None:
        """What is written before the prompt has the focus belongs to it all the same."""
        small = self._layout_choice.size == "none"
        unclaimed = self.active == "chat" and self.focused in (None, self.chat_pane.composer)
        if unclaimed and not small and is_written(event):
            event.stop()
            self.chat_pane.write(event.character or "")

    def on_descendant_focus(self) -> None:
        self._show_hints()

    def _first_key(self, action: Action) -> str:
        return key_text(self._keys.get(action.id, action.keys).split(",")[0])

    # --- doing ---

    def place_of(self, action: Action) -> Widget:
        """The widget that carries out an action."""
        return self.pane(action.place) if action.place in dict(PANES) else self

    def _works(self, action: Action, place: Widget) -> bool:
        name, _, arguments = action.call.rpartition(".")[2].partition("(")
        numbers = tuple(part.strip("'\" ") for part in arguments.rstrip(")").split(",") if part)
        return bool(place.check_action(name, numbers))

    async def do(self, action_id: str) -> None:
        """Carry out an action of the registry, as its key would."""
        action = BY_ID[action_id]
        if action.place in dict(PANES):
            await self.have_pane(action.place)
        place = self.place_of(action)
        if self._works(action, place):
            await self.app.run_action(action.call, default_namespace=place)

    async def on_action_chosen(self, event: ActionChosen) -> None:
        event.stop()
        if event.action_id.startswith("chat.example"):
            self.chat_pane.write_example(int(event.action_id.removeprefix("chat.example")))
        else:
            await self.do(event.action_id)

    def commands(self) -> list[Command]:
        """What the palette lists now, the active pane's own commands first."""
        nearest = {self.active: 0, "chat": 1}
        actions = sorted(palette_actions(), key=lambda action: nearest.get(action.place, 2))
        commands = [
            Command(command_title(action), self._key_words(action), partial(self._later, action.id))
            for action in actions
            if (action.place in ("", "chat", self.active)) and self._works(action, self.place_of(action))
        ]
        for model in (self.bridge.state.models or ())[:N_MODEL_COMMANDS]:
            name = model.name
            commands.append(Command(f"model: Chat with {name}", "", partial(self._want_chat, name)))
        for name in sorted(self.app.available_themes):
            commands.append(Command(f"theme: {name}", "", partial(setattr, self.app, "theme", name)))
        return commands

    def _want_chat(self, name: str) -> None:
        self.post_message(ChatWanted(name))

    def _later(self, action_id: str) -> None:
        """Carry out an action once the palette is gone."""
        self.call_later(self.do, action_id)

    def _key_words(self, action: Action) -> str:
        keys = [key for key in self._keys.get(action.id, action.keys).split(",") if key and key != "none"]
        return " or ".join(map(key_text, keys))

    def on_dialog_wanted(self, event: DialogWanted) -> None:
        event.stop()
        self.dialogs.open(event.kind, event.name)

    async def on_chat_wanted(self, event: ChatWanted) -> None:
        event.stop()
        self.desk.new(event.model)
        await self.show_pane("chat")

    # --- actions ---

    async def action_show_pane(self, name: str) -> None:
        """Go to a pane."""
        await self.show_pane(name)

    async def action_last_pane(self) -> None:
        """Go back to the pane before."""
        await self.show_pane(self._last)

    def action_zoom(self) -> None:
        """Hide the parts beside the main pane, or show them again."""
        self.toggle_class("-zoomed")
        self.call_after_refresh(self._refresh_all, frozenset(("status",)))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "quit_small" or self._layout_choice.size == "none"

    def action_quit_small(self) -> None:
        """Quit from the sentence that a terminal gets which is too small."""
        self.app.action_ask_to_quit()  # type: ignore[attr-defined]

    def action_help(self) -> None:
        """Show help for what has the focus."""
        self.dialogs.show_help()

    def action_jump(self) -> None:
        """Put a key on every pane and widget, and go where the key leads that is pressed."""
        self.dialogs.jump(self.do)

    def action_palette(self) -> None:
        """Open the command palette."""
        self.app.action_command_palette()


def side_pane(name: str) -> type[Pane]:
    """The class of a pane beside the chat; imported when it is first wanted."""
    if name == "models":
        from olla_tui.panes.models import ModelsPane

        return ModelsPane
    if name == "running":
        from olla_tui.panes.running import RunningPane

        return RunningPane
    if name == "gpus":
        from olla_tui.panes.gpus import GpusPane

        return GpusPane
    if name == "requests":
        from olla_tui.panes.requests import RequestsPane

        return RequestsPane
    if name == "pulls":
        from olla_tui.panes.pulls import PullsPane

        return PullsPane
    from olla_tui.panes.logs import LogsPane

    return LogsPane
