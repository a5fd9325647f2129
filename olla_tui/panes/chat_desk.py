"""The chats: which is shown, and how they get into the history and back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence

from olla_tui.bridge import Bridge
from olla_tui.history.export import ExportFormat
from olla_tui.history.files import read_chat, write_chat
from olla_tui.history.store import ChatSummary, Found, HistoryStore
from olla_tui.state.conversation import Conversation, new_conversation


def random_id() -> str:
    """An id that no other chat has."""
    return uuid.uuid4().hex


class ChatDesk:
    """Opens, keeps, renames and deletes chats. Without a history they live as long as the screen."""

    def __init__(
        self, bridge: Bridge, history: HistoryStore | None, *, new_id: Callable[[], str] = random_id
    ) -> None:
        self._bridge = bridge
        self._history = history
        self._new_id = new_id
        self._foreseen: Conversation | None = None

    @property
    def current(self) -> Conversation:
        """The chat that is shown; the first one is made when it is asked for."""
        return self._bridge.state.chat or self.new()

    def new(self, model: str = "") -> Conversation:
        """Show an empty chat: the present one when it is still empty, otherwise another."""
        state = self._bridge.state
        chat = state.chat
        if chat is None or chat.turns:
            name = model or ("" if chat else state.default_model())
            chat = new_conversation(self._new_id, self._bridge.clock(), model=name, like=state.chat)
            state.open_chat(chat)
            self._put_surplus_away()
        elif model:
            chat.model = model
        self._bridge.touch("chat", "chats")
        return chat

    def settle_model(self) -> None:
        """Give the present chat a model when it has none, or one that is gone before it began."""
        chat, state = self.current, self._bridge.state
        is_gone = state.models is not None and state.model(chat.model) is None and not chat.turns
        if not chat.model or is_gone:
            chat.model = state.default_model()

    async def open(self, chat_id: str) -> bool:
        """Show a chat from memory or from the history; False when it is in neither. Raises: StoreError."""
        if self.open_at_once(chat_id):
            return True
        chat = await self._history.load(chat_id) if self._history is not None else None
        # It may have been opened while it was read.
        if chat is not None and not self.open_at_once(chat_id):
            self._show(chat)
        return chat is not None

    def open_at_once(self, chat_id: str) -> bool:
        """Show a chat that need not be read from the history; False when it must."""
        chat = next((known for known in self._bridge.state.chats if known.id == chat_id), None)
        if chat is None and self._foreseen is not None and self._foreseen.id == chat_id:
            chat = self._foreseen
        if chat is not None:
            self._show(chat)
        return chat is not None

    def _show(self, chat: Conversation) -> None:
        self._foreseen = None
        self._bridge.state.open_chat(chat)
        self._put_surplus_away()
        self._bridge.touch("chat", "chats")

    def _put_surplus_away(self) -> None:
        """Leave chats that take much memory to the history."""
        if self._history is not None:
            for chat in self._bridge.state.surplus_chats():
                self._bridge.order(self._put_away(chat))

    async def _put_away(self, chat: Conversation) -> None:
        """Keep a chat, then drop it, unless it was deleted or opened meanwhile. Raises: StoreError."""
        if self._history is not None and any(known is chat for known in self._bridge.state.chats):
            await self._history.put_away(chat)
            self._bridge.state.put_away(chat)

    async def foresee(self, chat_id: str) -> None:
        """Read a chat that may be opened next. Raises: StoreError."""
        is_open = any(known.id == chat_id for known in self._bridge.state.chats)
        if self._history is not None and not is_open:
            self._foreseen = None
            self._foreseen = await self._history.load(chat_id)

    async def search(self, text: str) -> Found:
        """Chats of memory and history that hold a text, the latest first. Raises: StoreError."""
        found = Found([]) if self._history is None else await self._history.search(text)
        kept = {summary.id: summary for summary in found.chats}
        words = text.lower().split()
        for chat in self._bridge.state.chats:
            if not chat.turns or (chat.id not in kept and not all(_holds(chat, word) for word in words)):
                continue
            excerpt = kept[chat.id].excerpt if chat.id in kept else ""
            kept[chat.id] = ChatSummary(
                chat.id, chat.display_title, chat.model, chat.updated_at, len(chat.turns), excerpt
            )
        chats = sorted(kept.values(), key=lambda summary: summary.updated_at, reverse=True)
        return Found(chats, found.note)

    async def export_file(self, chat: Conversation, format: ExportFormat, name: str) -> None:
        """Write a chat to a new file, and say where. Raises: StoreError."""
        path = await asyncio.to_thread(write_chat, chat, format, name)
        self._bridge.tell(f"written to {path}")

    async def import_file(self, name: str) -> None:
        """Show a chat from a file that `export_file` has written. Raises: InvalidRequest, StoreError."""
        chat = await asyncio.to_thread(read_chat, name, self._new_id())
        self._show(chat)
        await self.save(chat)

    def adopt(self, chat: Conversation) -> None:
        """Show and keep a chat that was kept nowhere so far."""
        chat.is_kept = True
        self._show(chat)
        if not chat.is_answering:
            self._bridge.order(self.save(chat))

    def new_id(self) -> str:
        """An id for another chat."""
        return self._new_id()

    async def add_vote(self, prompt: str, winner: str, losers: Sequence[str]) -> None:
        """Keep that the answer of one model was the best. Raises: StoreError."""
        if self._history is not None:
            await self._history.add_vote(prompt, winner, losers, self._bridge.clock())

    async def votes(self) -> list[tuple[str, str, int]]:
        """(winner, loser, how often). Raises: StoreError."""
        return [] if self._history is None else await self._history.votes()

    async def prompts(self) -> list[str]:
        """The user's latest prompts, oldest first. Raises: StoreError."""
        return [] if self._history is None else await self._history.prompts()

    async def save(self, chat: Conversation) -> None:
        """Keep a chat, unless it is empty. Raises: StoreError."""
        if self._history is not None and chat.turns and chat.is_kept:
            await self._history.save(chat)

    async def rename(self, chat_id: str, title: str) -> None:
        """Change a chat's title. Raises: StoreError."""
        for chat in self._bridge.state.chats:
            if chat.id == chat_id:
                chat.title = title
        if self._foreseen is not None and self._foreseen.id == chat_id:
            self._foreseen.title = title
        if self._history is not None:
            await self._history.rename(chat_id, title)
        self._bridge.touch("chat", "chats")

    async def reload(self, chat_id: str) -> None:
        """Read a chat again that another process has written to. Raises: StoreError."""
        chat = await self._history.load(chat_id) if self._history is not None else None
        state = self._bridge.state
        if chat is None or not any(known.id == chat_id for known in state.chats):
            return
        state.chats = [chat if known.id == chat_id else known for known in state.chats]
        if state.chat is not None and state.chat.id == chat_id:
            state.chat = chat
        self._bridge.touch("chat", "chats")

    async def delete(self, chat_id: str) -> None:
        """Forget a chat and stop its answer. Raises: StoreError."""
        state = self._bridge.state
        if self._foreseen is not None and self._foreseen.id == chat_id:
            self._foreseen = None
        for chat in state.chats:
            if chat.id == chat_id:
                self._bridge.stop(chat)
        like = state.chat
        state.forget_chat(chat_id)
        if state.chat is None:
            state.open_chat(new_conversation(self._new_id, self._bridge.clock(), like=like))
        if self._history is not None:
            await self._history.delete(chat_id)
        self._bridge.touch("chat", "chats")

    async def close(self) -> None:
        """Keep what is open and close the history. Raises: StoreError."""
        if self._history is not None:
            for chat in self._bridge.state.chats:
                await self.save(chat)
            await self._history.close()


def _holds(chat: Conversation, word: str) -> bool:
    """Whether a chat that the history may not know yet holds a word."""
    texts = (chat.display_title, chat.model, *(turn.content for turn in chat.turns))
    return any(word in text.lower() for text in texts)
