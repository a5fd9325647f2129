"""What the bridge and the widgets tell the screen: facts, named in the past tense, never orders."""

from __future__ import annotations

from textual.message import Message


class StateChanged(Message):
    """The workstation's state changed; at most one of these waits at any time.

    Attributes:
        parts: what changed, the names of `olla_tui.state.workstation.Part`.
    """

    def __init__(self, parts: frozenset[str]) -> None:
        super().__init__()
        self.parts = parts


class ActionChosen(Message):
    """The user clicked something that stands for an action of the registry."""

    def __init__(self, action_id: str) -> None:
        super().__init__()
        self.action_id = action_id


class Noticed(Message):
    """Something to tell the user in a toast."""

    def __init__(self, text: str, *, severity: str = "information", hint: str = "") -> None:
        super().__init__()
        self.text = text
        self.severity = severity
        self.hint = hint


class DialogWanted(Message):
    """A pane needs an answer that a dialog gets.

    Attributes:
        kind: a key of `Dialogs.openers`, such as "pick_model" or "delete_chat".
        name: what it is about, such as the model or the chat's id, "" for the present one.
    """

    def __init__(self, kind: str, name: str = "") -> None:
        super().__init__()
        self.kind = kind
        self.name = name


class ChatWanted(Message):
    """The user wants to chat with a model."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model


class TextSaved(Message):
    """The user wants a text in a file.

    Attributes:
        stem: name of the file without time and ending.
    """

    def __init__(self, stem: str, text: str) -> None:
        super().__init__()
        self.stem = stem
        self.text = text
