"""The chats: which is shown, and how they get into the history and back."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from olla_tui.bridge import Bridge
from olla_tui.history.store import ChatSummary, HistoryStore
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
        state = self._bridge.state
        chat = next((known for known in state.chats if known.id == chat_id), None)
        if chat is None and self._history is not None:
            chat = await self._history.load(chat_id)
        if chat is None:
            return False
        state.open_chat(chat)
        self._bridge.touch("chat", "chats")
        return True

    async def summaries(self, text: str = "") -> list[ChatSummary]:
        """Chats of memory and history with `text` in title or model, the latest first. Raises: StoreError."""
        kept = {} if self._history is None else {s.id: s for s in await self._history.list_chats(text)}
        for chat in self._bridge.state.chats:
            hay = f"{chat.display_title} {chat.model}".lower()
            if chat.turns and text.lower() in hay:
                kept[chat.id] = ChatSummary(
                    chat.id, chat.display_title, chat.model, chat.updated_at, len(chat.turns)
                )
        return sorted(kept.values(), key=lambda summary: summary.updated_at, reverse=True)

    async def prompts(self) -> list[str]:
        """The user's latest prompts, oldest first. Raises: StoreError."""
        return [] if self._history is None else await self._history.prompts()

    async def save(self, chat: Conversation) -> None:
        """Keep a chat, unless it is empty. Raises: StoreError."""
        if self._history is not None and chat.turns:
            await self._history.save(chat)

    async def rename(self, chat_id: str, title: str) -> None:
        """Change a chat's title. Raises: StoreError."""
        for chat in self._bridge.state.chats:
            if chat.id == chat_id:
                chat.title = title
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
