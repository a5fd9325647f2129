"""`olla chats`: what the workstation keeps, listed, written to files and read back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from olla_tui.history.export import FORMATS
from olla_tui.history.files import read_chat, write_chat
from olla_tui.history.store import ChatSummary, HistoryStore
from olla_tui.state.numbers import age_text
from olla_tui.state.rows import fit, printable
from server.errors import InvalidRequest, NotFound
from server.settings import Settings

ID_CHARS = 8
TITLE_CELLS = 44
MODEL_CELLS = 24


@asynccontextmanager
async def _history() -> AsyncIterator[HistoryStore]:
    store = HistoryStore(Settings.load().olla_dir / "chats.sqlite")
    try:
        yield store
    finally:
        await store.close()


def list_chats(text: str) -> None:
    """Print the chats that hold a text, the latest first. Raises: StoreError."""

    async def run() -> None:
        async with _history() as store:
            found = await store.search(text)
        heads = (
            fit("ID", ID_CHARS),
            fit("TITLE", TITLE_CELLS),
            fit("MODEL", MODEL_CELLS),
            "TURNS",
            "LAST USED",
        )
        print("  ".join(heads))
        for chat in found.chats:
            print(_line(chat, time.time()))
        if found.note:
            print(found.note)

    asyncio.run(run())


def _line(chat: ChatSummary, now: float) -> str:
    title, model = fit(chat.title or "New chat", TITLE_CELLS), fit(chat.model, MODEL_CELLS)
    age = age_text(now - chat.updated_at)
    return f"{printable(chat.id[:ID_CHARS]):{ID_CHARS}}  {title}  {model}  {chat.n_turns:5}  {age}"


def export_chat(wanted: str, file: str) -> None:
    """Write a chat to a new file. Raises: NotFound, InvalidRequest, StoreError."""
    format = Path(file).suffix.lstrip(".").lower()
    if format not in FORMATS:
        raise InvalidRequest(f"{file} must end with .md, .html or .json")

    async def run() -> None:
        async with _history() as store:
            chats = await store.list_chats(limit=100_000)
            chat = await store.load(one_of(chats, wanted).id)
        if chat is None:
            raise NotFound(f"the chat {wanted} is gone")
        print(f"written to {write_chat(chat, format, file)}")

    asyncio.run(run())


def one_of(chats: Sequence[ChatSummary], wanted: str) -> ChatSummary:
    """The chat whose id begins so, or whose title it is. Raises: NotFound, InvalidRequest for several."""
    found = [chat for chat in chats if chat.id.startswith(wanted) or chat.title == wanted]
    if not found:
        raise NotFound(f"there is no chat {wanted}", hint="`olla chats list` shows them.")
    if len(found) > 1:
        raise InvalidRequest(f"{len(found)} chats are called {wanted}", hint="Name one by its id.")
    return found[0]


def import_chats(files: Sequence[str]) -> None:
    """Read chats from files, all of them or none. Raises: InvalidRequest, StoreError."""
    chats = [read_chat(file, uuid.uuid4().hex) for file in files]

    async def run() -> None:
        async with _history() as store:
            for chat in chats:
                await store.save(chat)
                print(f"{chat.id[:ID_CHARS]}  {printable(chat.display_title)}")

    asyncio.run(run())
