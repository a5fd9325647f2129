"""Commands that a prompt may be: "/new", "/model qwen3", and "!ls" for the shell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, NamedTuple


class Command(NamedTuple):
    """A command by name.

    Attributes:
        argument: what may follow, "" for nothing; in brackets when it may be left out.
        action: id of the action that it stands for when nothing follows, "" for none.
    """

    name: str
    help: str
    argument: str = ""
    action: str = ""


COMMANDS: tuple[Command, ...] = (
    Command("again", "answer the last question again", action="chat.regenerate"),
    Command("chats", "search and switch chats", action="chat.switch"),
    Command("compare", "ask several models at once", "[PROMPT]", "chat.compare"),
    Command("delete", "delete this chat", action="chat.delete"),
    Command("edit", "edit the last question", action="chat.edit"),
    Command("export", "write this chat to a file", "[md|json|html] [FILE]", "chat.export"),
    Command("help", "show the keys", action="app.help"),
    Command("import", "read a chat from a file of ours", "FILE"),
    Command("model", "change the model", "[NAME]", "chat.model"),
    Command("new", "start a new chat", action="chat.new"),
    Command("options", "system prompt and options", action="chat.options"),
    Command("quit", "leave", action="app.quit"),
    Command("rename", "give this chat a title", "[TITLE]", "chat.rename"),
    Command("set", "change an option; without a value the model's", "OPTION [VALUE]", "chat.options"),
    Command("system", "set the system prompt; empty removes it", "[TEXT]"),
)
COMMAND_BY_NAME = {command.name: command for command in COMMANDS}

Kind = Literal["prompt", "command", "shell", "unknown"]

_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Parsed:
    """What a prompt is.

    Attributes:
        name: of a command.
        rest: the text of a prompt, the argument of a command, the line for the shell, or a sentence on an
            unknown command.
    """

    kind: Kind
    rest: str
    name: str = ""


def parse(text: str) -> Parsed:
    """Take a prompt for what it is. A space before "/" or "!" makes it a prompt whatever follows."""
    if text.startswith("!") and text[1:].strip():
        return Parsed("shell", text[1:].strip())
    found = _COMMAND.fullmatch(text)
    if found is None:
        return Parsed("prompt", text)
    name, rest = found[1], (found[2] or "").strip()
    if name in COMMAND_BY_NAME:
        return Parsed("command", rest, name)
    near = get_close_matches(name, COMMAND_BY_NAME, n=1)
    meant = f"; did you mean /{near[0]}?" if near else ""
    return Parsed(
        "unknown", f"There is no command /{name}{meant}. A space before it sends it as a prompt.", name
    )
