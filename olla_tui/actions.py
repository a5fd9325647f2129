"""Everything that a key, a click or the palette can start: one list, from which all three are made.

An action belongs to a place: "" is everywhere, "list" is every table, otherwise it is a pane. Its callable is
a method `action_NAME` of the widget that stands for the place (the main screen for "").
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True)
class Action:
    """One thing that can be done.

    Attributes:
        id: "place.verb", for the user's keymap and for clicks.
        title: for help and palette, in the imperative.
        keys: default keys, separated by commas; "" for none.
        place: where it works.
        call: name of the method and its arguments, as Textual's action strings.
        hint: one or two words for the line of key hints, "" to leave it out there.
        priority: the key works even where a text field has the focus.
        palette: listed in the palette.
    """

    id: str
    title: str
    keys: str
    place: str
    call: str
    hint: str = ""
    priority: bool = False
    palette: bool = True

    @property
    def group(self) -> str:
        """Heading in help and palette."""
        return self.id.partition(".")[0]


def _pane(name: str, title: str, number: int) -> Action:
    # F9 is not a pane's.
    keys = f"alt+{number},f{number + 1}" if number < 8 else f"alt+{number},alt+{name[0]}"
    return Action(f"pane.{name}", f"Go to {title}", keys, "", f"show_pane('{name}')", priority=True)


PANES: tuple[tuple[str, str], ...] = (
    ("chat", "Chat"),
    ("models", "Models"),
    ("running", "Running"),
    ("gpus", "GPUs"),
    ("requests", "Requests"),
    ("logs", "Logs"),
    ("pulls", "Pulls"),
    ("bench", "Bench"),
)
"""(id, title) of the panes in the order of their tabs."""

ACTIONS: tuple[Action, ...] = (
    *(_pane(name, title, number) for number, (name, title) in enumerate(PANES, start=1)),
    Action("app.help", "Show help for what has the focus", "f1", "", "help", priority=True),
    Action("app.palette", "Search all commands", "ctrl+p", "", "palette", priority=True, palette=False),
    Action("app.stop", "Stop; twice: quit", "ctrl+c", "", "app.interrupt", priority=True, palette=False),
    Action("app.quit", "Quit", "ctrl+q", "", "app.ask_to_quit", priority=True),
    Action("app.suspend", "Suspend to the shell", "ctrl+z", "", "app.suspend_process", priority=True),
    Action("app.mouse", "Give or take the mouse", "f12,alt+x", "", "app.toggle_mouse", priority=True),
    Action("app.zoom", "Hide or show the rails", "f11,alt+z", "", "zoom", priority=True),
    Action("app.theme", "Switch to the next theme", "f9,alt+c", "", "app.next_theme", priority=True),
    Action("app.redraw", "Draw the whole screen anew", "alt+r", "", "app.redraw", priority=True),
    Action("app.jump", "Jump to a part of the screen", "ctrl+o,alt+j", "", "jump", priority=True),
    Action(
        "app.bandwidth",
        "Spare the link: always, never, or when it is slow",
        "f10,alt+l",
        "",
        "app.next_bandwidth",
        priority=True,
    ),
    Action("list.help", "Show help", "question_mark", "list", "screen.help", palette=False),
    Action("list.palette", "Search all commands", "colon", "list", "screen.palette", palette=False),
    Action("list.last_pane", "Go back to the last pane", "minus", "list", "screen.last_pane", palette=False),
    Action("list.quit", "Quit", "q", "list", "app.ask_to_quit", palette=False),
    Action("list.chat", "Go back to the chat", "escape", "list", "screen.show_pane('chat')", palette=False),
    Action("chat.new", "Start a new chat", "ctrl+n", "chat", "new", "new", priority=True),
    Action("chat.switch", "Switch to another chat", "ctrl+l", "chat", "switch", "chats", priority=True),
    Action("chat.rename", "Rename this chat", "alt+n", "chat", "rename", priority=True),
    Action("chat.delete", "Delete this chat", "alt+d", "chat", "delete", priority=True),
    Action("chat.model", "Choose the model", "alt+m", "chat", "model", "model", priority=True),
    Action("chat.think", "Change how much the model thinks", "alt+t", "chat", "think", priority=True),
    Action("chat.temperature", "Change the temperature", "alt+s", "chat", "temperature", priority=True),
    Action("chat.regenerate", "Answer again", "ctrl+r", "chat", "regenerate", "again", priority=True),
    Action("chat.edit", "Edit a question or an answer", "alt+e", "chat", "edit", "edit", priority=True),
    Action("chat.before", "Show the version before", "alt+left", "chat", "sibling(-1)", priority=True),
    Action("chat.after", "Show the version after", "alt+right", "chat", "sibling(1)", priority=True),
    Action("chat.options", "Change system prompt and options", "alt+o", "chat", "options", priority=True),
    Action("chat.compare", "Ask several models the same", "alt+k", "chat", "compare", priority=True),
    Action("chat.export", "Write this chat to a file", "alt+w", "chat", "export", priority=True),
    Action("chat.paste_image", "Paste a picture", "alt+v", "chat", "paste_image", priority=True),
    Action("chat.unqueue", "Take back a prompt that waits", "alt+u", "chat", "unqueue(-1)", priority=True),
    *(
        Action(
            f"chat.unqueue{at}", "Take back a prompt that waits", "", "chat", f"unqueue({at})", palette=False
        )
        for at in range(3)
    ),
    Action("chat.stop", "Stop the answer, or the edit", "escape", "chat", "stop", "stop"),
    Action("chat.read", "Move between prompt and transcript", "ctrl+t", "chat", "read", priority=True),
    Action("chat.bundled", "Chat with the model in the package", "alt+g", "chat", "bundled", priority=True),
    Action("models.run", "Chat with the model", "r,enter", "models", "run", "chat"),
    Action("models.unload", "Unload the model", "u", "models", "unload", "unload"),
    Action("models.delete", "Delete the model", "d", "models", "delete", "delete"),
    Action("models.info", "Show or hide the details", "i", "models", "info", "details"),
    Action("models.scroll", "Scroll the details", "J,shift+down", "models", "scroll(1)", palette=False),
    Action("models.scroll_up", "Scroll them up", "K,shift+up", "models", "scroll(-1)", palette=False),
    Action("models.filter", "Filter the list", "slash", "models", "filter", "filter"),
    Action("models.sort", "Sort by the next column", "full_stop,s", "models", "sort(1)", "sort"),
    Action("models.sort_back", "Sort by the column before", "comma", "models", "sort(-1)", palette=False),
    Action("models.bundled", "Install the model that ships with olla", "b", "models", "bundled"),
    Action("models.pull", "Pull a model", "p", "models", "pull", "pull"),
    Action("models.longer", "Ask whether a longer context fits", "c", "models", "context(1)", "context"),
    Action("models.shorter", "Ask about a shorter context", "C", "models", "context(-1)", palette=False),
    Action("models.copy", "Give the model a second name", "y", "models", "copy"),
    Action("models.create", "Make a model from this one", "n", "models", "create"),
    Action("running.chat", "Chat with the model", "r,enter", "running", "chat", "chat"),
    Action("running.unload", "Unload the model", "u", "running", "unload", "unload"),
    Action("running.longer", "Keep the model longer", "plus,equals_sign", "running", "keep(1)", "longer"),
    Action("running.shorter", "Keep the model shorter", "minus", "running", "keep(-1)", "shorter"),
    Action("running.hold", "Hold the model, or let it go", "h", "running", "hold", "hold"),
    Action("running.detail", "Show or hide the details", "i", "running", "detail", "details"),
    Action("running.scroll", "Scroll the details", "J,shift+down", "running", "scroll(1)", palette=False),
    Action("running.scroll_up", "Scroll them up", "K,shift+up", "running", "scroll(-1)", palette=False),
    Action("requests.filter", "Filter the list", "slash", "requests", "filter", "filter"),
    Action("requests.open_only", "Show open requests only, or all", "o", "requests", "open_only", "open"),
    Action("requests.cancel", "Cancel the request", "x", "requests", "cancel", "cancel"),
    Action("requests.detail", "Show or hide the details", "enter,i", "requests", "detail", "details"),
    Action("requests.scroll", "Scroll the details", "J,shift+down", "requests", "scroll(1)", palette=False),
    Action("requests.scroll_up", "Scroll them up", "K,shift+up", "requests", "scroll(-1)", palette=False),
    Action("gpus.shorter", "Show a shorter time", "left_square_bracket", "gpus", "window(-1)", "shorter"),
    Action("gpus.longer", "Show a longer time", "right_square_bracket", "gpus", "window(1)", "longer"),
    Action("gpus.earlier", "Look at an earlier moment", "left", "gpus", "look(1)", "look back"),
    Action("gpus.later", "Look at a later moment", "right", "gpus", "look(-1)"),
    Action("gpus.now", "Look at what is now", "end", "gpus", "now"),
    Action("logs.level", "Show fewer or more levels", "l", "logs", "level", "level"),
    Action("logs.search", "Search the log", "slash", "logs", "search", "search"),
    Action("logs.save", "Save what is shown to a file", "s", "logs", "save", "save"),
    Action("logs.follow", "Follow the newest line", "f", "logs", "follow", "follow"),
    Action("pulls.pull", "Pull a model", "p", "pulls", "pull", "pull"),
    Action("pulls.pause", "Pause the transfer, or go on with it", "space,enter", "pulls", "pause", "pause"),
    Action("pulls.first", "Make it the first", "f", "pulls", "move_line(0)", "first"),
    Action("pulls.up", "Move it up", "K,shift+up", "pulls", "move_line(-1)", palette=False),
    Action("pulls.down", "Move it down", "J,shift+down", "pulls", "move_line(1)", palette=False),
    Action("pulls.limit", "Limit the transfer", "l", "pulls", "limit", "limit"),
    Action("pulls.limit_all", "Limit all transfers together", "L", "pulls", "limit_all"),
    Action("bench.measure", "Measure a model", "m", "bench", "measure", "measure"),
    Action("bench.again", "Measure the model again", "r", "bench", "again", "again"),
    Action("bench.stop", "Stop measuring", "x", "bench", "stop", "stop"),
    Action("bench.remove", "Forget the measurement", "d", "bench", "remove", "forget"),
    Action("pulls.remove", "Stop the transfer, or take it off the list", "d,x", "pulls", "remove", "remove"),
)
"""Every action. Global ones have two routes: two keys, or a key everywhere and a plain one in lists."""

BY_ID: dict[str, Action] = {action.id: action for action in ACTIONS}

DEFAULT_KEYS: dict[str, str] = {action.id: action.keys for action in ACTIONS}
PLACES: dict[str, str] = {action.id: action.place for action in ACTIONS}


def bindings_for(*places: str) -> list[Binding]:
    """Bindings of these places' actions, for a widget's `BINDINGS`; a key goes to the first that wants it."""
    taken: set[str] = set()
    bindings: list[Binding] = []
    for place in places:
        for action in ACTIONS:
            keys = [key for key in action.keys.split(",") if key and key not in taken]
            if action.place == place and keys:
                taken.update(keys)
                bindings.append(_binding(action, ",".join(keys)))
    return bindings


def _binding(action: Action, keys: str) -> Binding:
    return Binding(
        keys,
        action.call,
        action.title,
        show=bool(action.hint),
        priority=action.priority,
        tooltip=action.title,
        id=action.id,
    )


_KEY_NAMES = {
    "enter": "⏎",
    "escape": "esc",
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "minus": "-",
    "plus": "+",
    "full_stop": ".",
    "comma": ",",
    "equals_sign": "=",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "up": "↑",
    "left": "←",
    "right": "→",
    "down": "↓",
}


def key_text(key: str) -> str:
    """A key as people write it: "^P", "alt+1", "F1", "/"."""
    *modifiers, name = key.split("+")
    name = _KEY_NAMES.get(name, name)
    if modifiers == ["ctrl"] and len(name) == 1:
        return f"^{name.upper()}"
    if name.startswith("f") and name[1:].isdigit():
        name = name.upper()
    return "+".join((*modifiers, name))
