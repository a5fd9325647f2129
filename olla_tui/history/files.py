"""Chats in files of their own: written and read where the user says."""

from __future__ import annotations

from pathlib import Path

from olla_tui.history.atomic import write_new
from olla_tui.history.export import MAX_IMPORT_BYTES, ExportFormat, export, from_json
from olla_tui.state.conversation import Conversation
from server.errors import InvalidRequest


def write_chat(chat: Conversation, format: ExportFormat, name: str) -> Path:
    """Write a chat to a new file; returns its path. Raises: StoreError."""
    path = Path(name).expanduser().absolute()
    write_new(path, export(chat, format))
    return path


def read_chat(name: str, new_id: str) -> Conversation:
    """The chat of a JSON file that `write_chat` has written. Raises: InvalidRequest."""
    path = Path(name).expanduser()
    try:
        if not path.is_file():
            raise InvalidRequest(f"{path} is no file")
        with path.open("rb") as file:
            data = file.read(MAX_IMPORT_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_IMPORT_BYTES:
        raise InvalidRequest(f"{path} is too large for a chat")
    return from_json(data, new_id)
